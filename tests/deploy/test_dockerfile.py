"""The image: what goes in is there and not ignored, nothing runs as root or through a shell."""

from __future__ import annotations

import json
import shlex
from fnmatch import fnmatch

from flashorder.infra.redis.scripts import script_folder
from tests.deploy.files import ROOT, instructions, read


def copied() -> list[str]:
    """Sources of COPY that come from the checkout."""
    sources: list[str] = []
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            sources += shlex.split(rest)[:-1]
    return sources


def test_what_is_copied_is_there_and_not_ignored() -> None:
    lines = [line for line in read(".dockerignore").splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert {source.rstrip("/") for source in copied()} == kept
    for source in kept:
        assert (ROOT / source).exists(), source
    ignored = [line for line in lines[1:] if not line.startswith("!")]
    assert any(fnmatch("flashorder/x.pyc", line) for line in ignored)


def test_the_scripts_lie_where_an_installed_package_looks_for_them() -> None:
    assert ("COPY", "lua/ flashorder/lua/") in instructions()
    assert '"lua/*.lua"' in read("pyproject.toml")
    assert any(entry.name == "reserve.lua" for entry in script_folder().iterdir())


def test_nothing_goes_through_a_shell() -> None:
    for word, rest in instructions():
        if word in ("RUN", "CMD", "ENTRYPOINT"):
            assert isinstance(json.loads(rest), list), rest
        if word == "HEALTHCHECK":
            assert isinstance(json.loads(rest.split("CMD", 1)[1]), list), rest


def test_the_dependencies_are_those_of_the_lock_with_their_hashes() -> None:
    installs = [json.loads(rest) for word, rest in instructions() if word == "RUN"]
    (locked,) = [each for each in installs if "requirements/run.lock" in each]
    assert "--require-hashes" in locked
    (own,) = [each for each in installs if each[-1] == "."]
    assert {"--no-deps", "--no-index", "--no-build-isolation"} <= set(own)


def test_the_last_stage_is_small_and_not_root() -> None:
    words = instructions()
    last = max(index for index, (word, _) in enumerate(words) if word == "FROM")
    assert sum(word == "FROM" for word, _ in words) == 2
    stage = words[last:]
    users = [rest for word, rest in stage if word == "USER"]
    assert users == ["10001"]
    assert [rest for word, rest in stage if word == "COPY"] == [
        "--from=build /opt/flashorder /opt/flashorder"
    ]
    assert any(word == "HEALTHCHECK" for word, _ in stage)
