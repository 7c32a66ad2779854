"""What becomes of a failure that no command has translated."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from flashorder import cli


@pytest.mark.parametrize(
    ("failure", "exit_code", "code", "detail"),
    [
        (FileNotFoundError(2, "No such file", "/nowhere/t"), 2, "os_error", "/nowhere/t: "),
        (PermissionError(13, "Permission denied"), 2, "os_error", "Permission denied"),
        (ConnectionRefusedError(111, "Connection refused"), 3, "unavailable", "refused"),
        (TimeoutError(), 3, "unavailable", "TimeoutError"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_the_system_refuses_is_a_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: OSError,
    exit_code: int,
    code: str,
    detail: str,
    options: tuple[str, ...],
) -> None:
    def build() -> Callable[..., None]:
        def command(*, standalone_mode: bool = True) -> None:
            raise failure

        return command

    monkeypatch.setattr(cli, "build", build)
    monkeypatch.setattr(sys, "argv", ["flashorder", "x", *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert detail in line
    if options:
        assert json.loads(line)["error"]["code"] == code
