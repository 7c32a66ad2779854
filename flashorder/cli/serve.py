"""``flashorder serve``: the web role, in this process or in several."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from flashorder.cli.output import JsonOption, print_json
from flashorder.cli.running import role_settings
from flashorder.settings import Settings


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command("serve")(serve_command)


def serve_command(
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes; default FLASHORDER_WORKERS.")
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="Write {url, pid, workers: [pid…]} here whenever all workers are up."),
    ] = None,
    parent_pid: Annotated[int | None, typer.Option(hidden=True)] = None,
    worker_count: Annotated[int, typer.Option(hidden=True)] = 1,
    json: JsonOption = False,
) -> None:
    """Serve the HTTP contract until SIGTERM or SIGINT, then finish what is in flight.

    With --json the log is JSON, and {ready: "web", url, pid, workers} a line on standard output
    whenever all workers are up.
    """
    settings = role_settings(as_json=json)
    announce = _announcer(ready_file, as_json=json)
    count = workers or settings.workers
    if parent_pid is not None:
        from flashorder.infra.parent_death import end_with_parent  # noqa: PLC0415

        end_with_parent(parent_pid)
        _run_fast(_serve_here(settings, worker_count, _tell_parent))
    elif count == 1:
        _run_fast(_serve_here(settings, 1, announce))
    else:
        asyncio.run(_serve_in_workers(settings, count, announce))


COLLECT_AFTER_OBJECTS = 50_000
Announce = Callable[[str, list[int]], None]


def _announcer(ready_file: Path | None, *, as_json: bool) -> Announce:
    """Tells on standard output, and in the ready file."""

    def announce(url: str, pids: list[int]) -> None:
        state = {"url": url, "pid": os.getpid(), "workers": pids}
        if ready_file is not None:
            fresh = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
            fresh.write_bytes(msgspec.json.encode(state) + b"\n")
            fresh.replace(ready_file)
        if as_json:
            print_json({"ready": "web", **state})
        else:
            typer.echo(f"serving {url}")

    return announce


def _tell_parent(url: str, pids: list[int]) -> None:
    sys.stdout.write("up\n")
    sys.stdout.flush()


def _run_fast(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - not to be had everywhere
    except ImportError:
        asyncio.run(work)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def _serve_here(settings: Settings, worker_count: int, announce: Announce) -> None:
    """Serve in this process."""
    from contextlib import AsyncExitStack  # noqa: PLC0415

    from flashorder.app.web import build_web  # noqa: PLC0415 - heavy: only when it runs
    from flashorder.infra.http.application import METRICS  # noqa: PLC0415
    from flashorder.infra.http.server import serve  # noqa: PLC0415
    from flashorder.infra.open_files import raise_open_files  # noqa: PLC0415
    from flashorder.infra.telemetry.metrics import metrics_server  # noqa: PLC0415

    raise_open_files(settings.connections_max // worker_count)
    stopping = _stopping_on_signals()
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(build_web(settings))
        if settings.metrics_port:
            port = settings.metrics_port + (settings.worker_index or 0)
            await stack.enter_async_context(metrics_server(app[METRICS], settings.host, port))
        _rest_the_collector()
        await serve(
            app,
            settings,
            stopping,
            shared_port=worker_count > 1,
            share_of_connections=worker_count,
            on_ready=lambda listening: announce(listening.url, [os.getpid()]),
        )


def _rest_the_collector() -> None:
    """Leave what was built at start out of garbage collection, and collect the rest less often.

    Requests make hardly any cycles; with Python's defaults the collector took a sixth of a busy
    worker's time, with pauses of up to 88 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 50, 100)


async def _serve_in_workers(settings: Settings, count: int, announce: Announce) -> None:
    """Hold the port, and keep ``count`` workers running on it."""
    from flashorder.infra.http.server import Listening, reserve_port  # noqa: PLC0415 - heavy
    from flashorder.infra.http.workers import Workers  # noqa: PLC0415

    stopping = _stopping_on_signals()
    # The secret must be there before the workers look for it.
    assert settings.seed
    with reserve_port(settings.host, settings.port) as holder:
        listening = Listening(settings.host, holder.getsockname()[1])

        def command(index: int) -> tuple[Sequence[str], Mapping[str, str]]:
            argv = [sys.executable, "-m", "flashorder.cli", "serve"]
            argv += ["--parent-pid", str(os.getpid()), "--worker-count", str(count)]
            return argv, {
                "FLASHORDER_PORT": str(listening.port),
                "FLASHORDER_WORKER_INDEX": str(index),
            }

        await Workers(
            count,
            command,
            drain_timeout_seconds=settings.drain_timeout_seconds,
            on_change=lambda pids: announce(listening.url, pids),
        ).run(stopping)


def _stopping_on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping
