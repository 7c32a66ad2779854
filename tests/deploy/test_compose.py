"""docker-compose.yml against what it talks about: the command line, the settings, the files."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
import typer

from flashorder.cli import build
from flashorder.infra.advisories import Server, check_advisories
from flashorder.infra.findings import Level
from flashorder.infra.http.operations import operations
from flashorder.infra.telemetry.metrics import Metrics
from flashorder.settings import Settings
from tests.deploy.files import ROOT, compose, instructions, read, roles, services

PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+(\.\d+)?(-[\w.-]+)?")
SETTINGS = {f"FLASHORDER_{name.upper()}" for name in Settings.model_fields}


def variables(text: str) -> set[str]:
    return set(re.findall(r"\$\{(\w+)", text))


@pytest.mark.parametrize("name", sorted(roles()))
def test_every_command_is_one_of_the_command_line(name: str) -> None:
    command = typer.main.get_command(build())
    arguments = list(roles()[name]["command"])
    context = command.make_context("flashorder", arguments, resilient_parsing=True)
    while hasattr(command, "resolve_command"):
        _, found, arguments = command.resolve_command(context, arguments)
        assert found is not None, f"{name}: there is no such command"
        command = found
        # Parsed in earnest: an option that is not there, or a value it does not take, is refused.
        context = command.make_context(found.name, list(arguments), parent=context)
    assert context.command is command


def test_every_image_is_pinned() -> None:
    images = [each["image"] for each in services().values()]
    images += [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert [image for image in images if not PINNED.fullmatch(image)] == []


def test_nothing_is_known_against_the_stores() -> None:
    servers: dict[str, Server] = {"valkey/valkey": "valkey", "postgres": "postgresql"}
    images = (service["image"].partition(":") for service in services().values())
    versions = {servers[name]: tag for name, _, tag in images if name in servers}
    assert len(versions) == len(servers)
    for server, version in versions.items():
        finding = check_advisories("image", server, version)
        assert finding.level is Level.OK, finding


def test_every_variable_of_ours_is_a_setting() -> None:
    named = set(re.findall(r"FLASHORDER_[A-Z_]+", read("docker-compose.yml") + read("Dockerfile")))
    assert named - SETTINGS == set()
    for name, role in roles().items():
        assert set(role["environment"]) <= SETTINGS, name


def test_every_variable_asked_of_the_user_is_in_the_example_and_no_secret_has_a_default() -> None:
    text = read("docker-compose.yml")
    example = dict(
        line.split("=", 1)
        for line in read(".env.example").splitlines()
        if line and not line.startswith("#")
    )
    assert set(example) == variables(text)
    secrets = {name for name in example if name.endswith(("SECRET", "PASSWORD"))}
    assert secrets
    assert {name: example[name] for name in secrets} == dict.fromkeys(secrets, "")
    for name in secrets:
        assert set(re.findall(rf"\$\{{{name}(..)", text)) == {":?"}, f"{name} has a default"


def test_the_store_keeps_what_it_acknowledges() -> None:
    command = services()["store"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"
    assert "--maxmemory" in options, "admission is bounded by the share of it that is used"


def test_the_stores_are_not_published_and_the_rest_only_here() -> None:
    for name in ("store", "database"):
        assert "ports" not in services()[name]
        assert services()[name]["networks"] == ["stores"]
    assert compose()["networks"]["stores"]["internal"] is True
    for each in services().values():
        assert all(port.startswith("127.0.0.1:") for port in each.get("ports", []))


def test_what_is_referred_to_is_declared() -> None:
    document = compose()
    for name, service in services().items():
        assert set(service["networks"]) <= set(document["networks"]), name
        assert set(service.get("depends_on", {})) <= set(services()), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_dir(), f"{name} mounts {source}"
            else:
                assert source in document["volumes"], f"{name} mounts {source}"


def test_the_order_of_the_start() -> None:
    assert roles()["migrate"]["depends_on"]["database"]["condition"] == "service_healthy"
    for name in ("web", "consumer", "worker"):
        waits = {key: each["condition"] for key, each in roles()[name]["depends_on"].items()}
        assert waits == {
            "store": "service_healthy",
            "migrate": "service_completed_successfully",
        }


def test_the_numbers_of_the_roles() -> None:
    counts = {name: each.get("deploy", {}).get("replicas", 1) for name, each in roles().items()}
    assert counts == {
        "migrate": 1,
        "web": 2,
        "consumer": 2,
        "worker": 1,
        "payment-simulator": 1,
        "carrier-simulator": 1,
    }


def test_every_service_that_stays_says_how_it_is() -> None:
    image_has_one = any(word == "HEALTHCHECK" for word, _ in instructions())
    for name, service in services().items():
        own = service.get("healthcheck", {})
        if service["restart"] == "no":
            assert own == {"disable": True}, name
        else:
            assert "test" in own or (image_has_one and name in roles()), name


def test_health_is_asked_where_it_is_answered() -> None:
    asked: dict[str, str] = {}
    for name, role in roles().items():
        found = re.findall(r"http://[^']+", " ".join(role.get("healthcheck", {}).get("test", [])))
        if found:
            (asked[name],) = found
    assert asked == {
        "consumer": "http://127.0.0.1:9100/healthz",
        "worker": "http://127.0.0.1:9100/healthz",
        "payment-simulator": "http://127.0.0.1:8091/healthz",
        "carrier-simulator": "http://127.0.0.1:8092/healthz",
    }
    assert roles()["worker"]["environment"]["FLASHORDER_METRICS_PORT"] == "9100"
    (image,) = [rest for word, rest in instructions() if word == "HEALTHCHECK"]
    assert f"http://127.0.0.1:{Settings.model_fields['port'].default}/healthz" in image
    served = {each.path for each in operations(Metrics(), {}, bytes)}
    assert "/healthz" in served


def test_addresses_name_services_and_their_ports() -> None:
    ports = {"store": 6379, "database": 5432, "web": 8080}
    ports |= {"payment-simulator": 8091, "carrier-simulator": 8092}
    networks = {name: set(each["networks"]) for name, each in services().items()}
    for name, role in roles().items():
        for variable, value in role["environment"].items():
            if not variable.endswith("_URL"):
                continue
            url = urlsplit(re.sub(r"\$\{[^}]*\}", "x", value))
            if url.hostname == "127.0.0.1":
                assert f"127.0.0.1:{url.port}:{url.port}" in role["ports"]
                continue
            assert ports[str(url.hostname)] == url.port, variable
            if name != "migrate":
                assert networks[name] & networks[str(url.hostname)], f"{name} reaches {value}"


def test_only_the_simulators_write_and_they_have_a_place_to() -> None:
    for name, role in roles().items():
        assert role["read_only"] is True, name
        mounts = role.get("volumes", [])
        if name.endswith("-simulator"):
            assert mounts == [f"{name}:/var/lib/flashorder"]
        else:
            assert mounts == []
            assert "FLASHORDER_SECRET" in role["environment"], "else a seed would be written"
