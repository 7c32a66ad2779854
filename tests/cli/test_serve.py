"""``flashorder serve`` as an operator runs it: one process, several, a port that is taken."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import typer
from openapi_spec_validator import OpenAPIV31SpecValidator

from flashorder.cli import build


@asynccontextmanager
async def serving(
    redis_url: str,
    database_url: str,
    folder: Path,
    *arguments: str,
    port: int = 0,
    changes: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command, running; stopped in order at the end."""
    environment = {name: value for name, value in os.environ.items() if "FLASHORDER" not in name}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flashorder.cli", "serve", *arguments,
        env={
            **environment,
            "FLASHORDER_DATABASE_URL": database_url,
            "FLASHORDER_REDIS_URL": redis_url,
            "FLASHORDER_DATA_DIR": str(folder),
            "FLASHORDER_PORT": str(port),
            **(changes or {}),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **options,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 30)


async def url_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    assert line.startswith(b"serving http://"), line
    return line.split()[1].decode()


async def check_document(client: aiohttp.ClientSession) -> None:
    """The whole contract is valid, and every operation in it is answered by an endpoint."""
    async with client.get("/openapi.json") as answer:
        document = await answer.json()
    OpenAPIV31SpecValidator(document).validate()
    for path, operations in document["paths"].items():
        for method in operations:
            async with client.request(method, re.sub(r"{\w+}", "x", path)) as answer:
                # 401 without a token, 404 of an object, 422 of a body: but never "nothing here".
                assert answer.status not in (405, 500), (method, path)
                if answer.status == 404:
                    problem = await answer.json(content_type=None)
                    assert problem["detail"] != "There is nothing here.", (method, path)


@pytest.mark.parametrize("count", [1, 2])
async def test_it_serves_until_it_is_told_to_stop(
    redis_url: str, database_url: str, tmp_path: Path, count: int
) -> None:
    ready_file = tmp_path / "ready.json"
    arguments = ("--workers", str(count), "--ready-file", str(ready_file))
    async with serving(redis_url, database_url, tmp_path / "data", *arguments) as process:
        url = await url_of(process)
        state = msgspec.json.decode(ready_file.read_bytes())
        assert (state["url"], state["pid"], len(state["workers"])) == (url, process.pid, count)
        async with aiohttp.ClientSession(url) as client:
            for path in ("/healthz", "/openapi.json", "/metrics"):
                async with client.get(path) as answer:
                    assert answer.status == 200, path
                    text = await answer.text()
            assert ('worker="' in text) == (count > 1)
            await check_document(client)
    assert process.returncode == 0


@pytest.mark.parametrize("count", [1, 2])
async def test_programs_hear_in_json_where_it_serves(
    redis_url: str, database_url: str, tmp_path: Path, count: int
) -> None:
    arguments = ("--workers", str(count), "--json")
    async with serving(redis_url, database_url, tmp_path, *arguments) as process:
        assert process.stdout is not None
        state = msgspec.json.decode(await asyncio.wait_for(process.stdout.readline(), 30))
        assert (state["ready"], state["pid"], len(state["workers"])) == ("web", process.pid, count)
        async with aiohttp.ClientSession(state["url"]) as client, client.get("/healthz") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, log
    assert all(isinstance(msgspec.json.decode(line), dict) for line in log.splitlines())


def test_every_command_speaks_json() -> None:
    def commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
        for name, command in getattr(group, "commands", {}).items():
            yield from commands(command, f"{path} {name}")
        if not hasattr(group, "commands"):
            yield path, group

    silent = [
        path
        for path, command in commands(typer.main.get_command(build()), "flashorder")
        if not any("--json" in parameter.opts for parameter in command.params)
    ]
    assert silent == []


async def test_a_port_that_is_taken_is_a_line_not_a_traceback(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for count in ("1", "2"):
            async with serving(
                redis_url, database_url, tmp_path, "--workers", count, port=port
            ) as process:
                _, said = await asyncio.wait_for(process.communicate(), 30)
                assert process.returncode == 2
                assert f"port {port} of 127.0.0.1 is taken".encode() in said
                assert b"Traceback" not in said
            async with serving(
                redis_url, database_url, tmp_path, "--workers", count,
                changes={"FLASHORDER_METRICS_PORT": str(port)},
            ) as process:  # fmt: skip
                _, said = await asyncio.wait_for(process.communicate(), 30)
                assert process.returncode == 2
                assert b"FLASHORDER_METRICS_PORT" in said
                assert b"Traceback" not in said


async def said_to(host: str, port: int) -> bytes:
    """The status line that a new connection hears; the connection stays open until collected."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        return (await reader.readline())[:12]
    except ConnectionResetError:
        return b""
    finally:
        OPEN.append(writer)


OPEN: list[asyncio.StreamWriter] = []


async def test_who_comes_beyond_the_open_files_is_refused_not_left_to_wait(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    soft, hard = 64, 300

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    async with serving(redis_url, database_url, tmp_path, preexec_fn=limit) as process:
        port = int((await url_of(process)).rsplit(":", 1)[1])
        try:
            async with asyncio.timeout(20):
                said = [await said_to("127.0.0.1", port) for _ in range(hard + 50)]
        finally:
            for writer in OPEN:
                writer.close()
            OPEN.clear()
        served = said.count(b"HTTP/1.1 200")
        assert soft < served == hard // 2
        assert set(said) == {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 30)
    assert b"connections_capped" in log
