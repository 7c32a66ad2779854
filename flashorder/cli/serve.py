"""``flashorder serve``: the web role, in this process or in several."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import structlog
import typer

from flashorder.cli.output import JsonOption, print_json
from flashorder.cli.running import role_settings
from flashorder.infra.collection import rest_the_collector
from flashorder.settings import Settings

if TYPE_CHECKING:
    from flashorder.infra.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


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
    listener: Annotated[int | None, typer.Option(hidden=True)] = None,
    json: JsonOption = False,
) -> None:
    """Serve the HTTP contract until SIGTERM or SIGINT, then finish what is in flight.

    With several workers, SIGHUP replaces them one after the other without a request lost: each
    serves before its predecessor is told to stop, and one that does not come up leaves it in place.
    A worker that is told to stop itself (SIGTERM) drains, and is replaced at once.

    With --json the log is JSON, and {ready: "web", url, pid, workers} a line on standard output
    whenever all workers are up.
    """
    settings = role_settings(as_json=json)
    announce = _announcer(ready_file, as_json=json)
    count = workers or settings.workers
    if parent_pid is not None:
        from flashorder.infra.parent_death import end_with_parent  # noqa: PLC0415

        end_with_parent(parent_pid)
        assert listener is not None, "the parent has opened it"
        _run_fast(_serve_as_worker(settings, worker_count, socket.socket(fileno=listener)))
    elif count == 1:
        _run_fast(_serve_alone(settings, announce))
    else:
        asyncio.run(_serve_in_workers(settings, count, announce))


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


def _run_fast(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - not to be had everywhere
    except ImportError:
        asyncio.run(work)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def _serve_alone(settings: Settings, announce: Announce) -> None:
    """Serve in this process, on a port of its own."""
    from flashorder.app.web import build_web  # noqa: PLC0415 - heavy: only when it runs
    from flashorder.infra.http.application import METRICS  # noqa: PLC0415
    from flashorder.infra.http.server import serve  # noqa: PLC0415
    from flashorder.infra.open_files import raise_open_files  # noqa: PLC0415

    raise_open_files(settings.connections_max)
    stopping = _stopping_on_signals(
        lambda: log.warning("no_rolling_restart", mend="serve with --workers 2 or more")
    )
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(build_web(settings))
        if settings.metrics_port:
            await _tell_metrics(stack, app[METRICS], settings)
        rest_the_collector()
        await serve(
            app,
            settings,
            stopping,
            on_ready=lambda listening: announce(listening.url, [os.getpid()]),
        )


async def _tell_metrics(stack: AsyncExitStack, metrics: Metrics, settings: Settings) -> None:
    from flashorder.infra.http.listening import port_failure  # noqa: PLC0415 - heavy
    from flashorder.infra.telemetry.metrics import metrics_server  # noqa: PLC0415

    host, port = settings.host, settings.metrics_port
    try:
        await stack.enter_async_context(metrics_server(metrics, host, port))
    except OSError as error:
        raise port_failure(host, port, error, setting="FLASHORDER_METRICS_PORT") from None


async def _serve_as_worker(settings: Settings, worker_count: int, listener: socket.socket) -> None:
    """Serve as one of several, on the socket of this one's place; the parent hears how it goes."""
    from flashorder.app.web import build_web  # noqa: PLC0415 - heavy: only when it runs
    from flashorder.infra.http.application import METRICS  # noqa: PLC0415
    from flashorder.infra.http.server import serve  # noqa: PLC0415
    from flashorder.infra.http.worker_process import LEAVING, UP, tell_parent  # noqa: PLC0415
    from flashorder.infra.open_files import raise_open_files  # noqa: PLC0415
    from flashorder.infra.telemetry.metrics_port import metrics_server_in_turn  # noqa: PLC0415

    raise_open_files(settings.connections_max // worker_count)
    # A terminal that hangs up tells all its processes; what becomes of it is the parent's to say.
    stopping = _stopping_on_signals(lambda: None)
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(build_web(settings))
        if settings.metrics_port:
            port = settings.metrics_port + (settings.worker_index or 0)
            await stack.enter_async_context(
                metrics_server_in_turn(app[METRICS], settings.host, port)
            )
        rest_the_collector()
        await serve(
            app,
            settings,
            stopping,
            shared=listener,
            share_of_connections=worker_count,
            on_ready=lambda listening: tell_parent(UP),
            on_leaving=lambda: tell_parent(LEAVING),
        )


async def _serve_in_workers(settings: Settings, count: int, announce: Announce) -> None:
    """Hold the port, and keep ``count`` workers running on it."""
    from flashorder.infra.http.listening import SharedPort, check_free  # noqa: PLC0415 - heavy
    from flashorder.infra.http.workers import Workers  # noqa: PLC0415

    # The secret must be there before the workers look for it.
    assert settings.seed
    for index in range(count if settings.metrics_port else 0):
        check_free(settings.host, settings.metrics_port + index, setting="FLASHORDER_METRICS_PORT")
    with SharedPort(settings.host, settings.port, count) as port:

        def command(index: int, listener: int) -> tuple[Sequence[str], Mapping[str, str]]:
            argv = [sys.executable, "-m", "flashorder.cli", "serve"]
            argv += ["--parent-pid", str(os.getpid()), "--worker-count", str(count)]
            argv += ["--listener", str(listener)]
            # What this process goes by is not for a changed file to say.
            return argv, {
                "FLASHORDER_PORT": str(port.listening.port),
                "FLASHORDER_WORKER_INDEX": str(index),
                "FLASHORDER_DRAIN_TIMEOUT_SECONDS": str(settings.drain_timeout_seconds),
            }

        workers = Workers(
            port,
            count,
            command,
            drain_timeout_seconds=settings.drain_timeout_seconds,
            on_change=lambda pids: announce(port.listening.url, pids),
        )
        await workers.run(_stopping_on_signals(workers.renew))


def _stopping_on_signals(hung_up: Callable[[], None]) -> asyncio.Event:
    """Set by SIGTERM and SIGINT, and by SIGHUP where it tells of a terminal that has gone.

    Else SIGHUP calls ``hung_up``.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    on_terminal = _has_terminal()

    def hang_up() -> None:
        if on_terminal and not _has_terminal():
            stopping.set()
        else:
            hung_up()

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    return stopping


def _has_terminal() -> bool:
    with suppress(OSError), Path("/dev/tty").open("rb"):
        return True
    return False
