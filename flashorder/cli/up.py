"""``flashorder up``: every role, and the stores where none are named, in one go."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashorder.cli.output import JsonOption
from flashorder.cli.rebuild import rebuild_sale
from flashorder.settings import Settings, load_settings

if TYPE_CHECKING:
    from flashorder.infra.supervision import Console
    from flashorder.standalone.demonstration import Demonstration
    from flashorder.standalone.ready import ReadyState
    from flashorder.standalone.service import Options, Standalone


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command("up")(up)


def up(
    ready_file: Annotated[
        Path | None, typer.Option(help="Write addresses and pids here once all is ready.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Web workers; else FLASHORDER_WORKERS.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; else FLASHORDER_PORT. 0: any free.")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo/--no-demo", help="Logins and a sale to try things with.")
    ] = True,
    autopilot: Annotated[
        bool | None,
        typer.Option(
            "--autopilot/--no-autopilot",
            help="Paid orders walk to the doorstep and complete on their own; on with --demo.",
        ),
    ] = None,
    log_level: Annotated[
        str, typer.Option(help="What the terminal shows of the roles: debug … error.")
    ] = "warning",
    json: JsonOption = False,
) -> None:
    """Start every role, and stores of our own where none are named; Ctrl-C stops everything."""
    from flashorder.infra.supervision import Console  # noqa: PLC0415 - heavy
    from flashorder.infra.telemetry.logging import configure_logging  # noqa: PLC0415
    from flashorder.standalone.service import Options  # noqa: PLC0415

    settings = load_settings()
    changes = {} if port is None else {"port": port}
    settings = settings.model_copy(update={**changes, "data_dir": settings.data_dir.absolute()})
    options = Options(
        workers=workers or settings.workers,
        demonstration=demo,
        autopilot=(demo or settings.autopilot) if autopilot is None else autopilot,
        ready_file=ready_file.absolute() if ready_file else None,
    )
    if log_level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter("one of debug, info, warning, error", param_hint="--log-level")
    # Our own words are few, and for a person; those of the roles are theirs to format.
    configure_logging(settings.model_copy(update={"log_format": "console", "log_level": "warning"}))
    asyncio.run(_run(settings, options, Console(log_level), json))


async def _run(settings: Settings, options: Options, console: Console, as_json: bool) -> None:
    from flashorder.infra.embedded import DataFolder  # noqa: PLC0415 - heavy
    from flashorder.standalone.service import Standalone  # noqa: PLC0415

    stopping = asyncio.Event()
    hurry: list[Callable[[], None]] = []

    def asked_to_stop() -> None:
        if stopping.is_set():
            for each in hurry:
                each()
        stopping.set()

    # Before anything is made, so that nothing half made is left by an early Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop)
    with DataFolder(settings.data_dir) as folder:
        everything = Standalone(settings, folder, console, options, rebuild_sale)
        everything.check()
        hurry.append(everything.hurry)
        _say(f"starting; data and logs in {settings.data_dir}")
        try:
            await _until_stopped(everything, stopping, settings, as_json)
        finally:
            _say("stopping; again to hurry" if sys.stderr.isatty() else "stopping")
            await everything.stop()
            _say("stopped")


async def _until_stopped(
    everything: Standalone, stopping: asyncio.Event, settings: Settings, as_json: bool
) -> None:
    starting = asyncio.create_task(everything.start(), name="start")
    asked = asyncio.create_task(stopping.wait(), name="asked to stop")
    try:
        await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return
        state, demonstration = starting.result()
        if as_json:
            import msgspec  # noqa: PLC0415

            typer.echo(msgspec.json.encode(state).decode())
        else:
            typer.echo(_welcome(state, demonstration, settings))
        await asked
    finally:
        for task in (starting, asked):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


def _say(text: str) -> None:
    with suppress(OSError):
        typer.echo(text, err=True)


def _welcome(state: ReadyState, demonstration: Demonstration | None, settings: Settings) -> str:
    lines = ["", f"flashorder is ready: {state.url}", f"  documentation  {state.url}/docs"]
    if demonstration is None:
        return "\n".join([*lines, f"  check          {_command(settings, 'verify')}", ""])
    buyer, operator = demonstration.logins.buyer, demonstration.logins.operator
    json_type = "-H 'Content-Type: application/json'"
    sign_in = _compact({"email": buyer.email, "password": buyer.password})
    order = _compact({"sku": demonstration.sku, "quantity": 1})
    return "\n".join(
        [
            *lines,
            f"  buyer          {buyer.email}  {buyer.password}",
            f"  operator       {operator.email}  {operator.password}",
            "",
            "Try next:",
            "",
            "  1. sign in and buy",
            f"     TOKEN=$(curl -s {state.url}/v1/tokens {json_type} \\",
            f'       -d \'{sign_in}\' | sed \'s/.*"access_token":"\\([^"]*\\)".*/\\1/\')',
            f"     ORDER=$(curl -s {state.url}/v1/sales/{demonstration.sale_id}/orders \\",
            '       -H "Authorization: Bearer $TOKEN" -H "Idempotency-Key: $(date +%s%N)" \\',
            f"       {json_type} -d '{order}' \\",
            '       | tee /dev/stderr | sed \'s/.*"order_id":"\\([^"]*\\)".*/\\1/\'); echo',
            "",
            "  2. pay for it, and watch it walk to the doorstep",
            f"     PAY=$(curl -s {state.url}/v1/orders/$ORDER/payments {json_type} \\",
            '       -H "Authorization: Bearer $TOKEN" -H "Idempotency-Key: $(date +%s%N)" \\',
            '       -d \'{"provider":"simulator"}\' | sed \'s/.*"url":"\\([^"]*\\)".*/\\1/\')',
            f'     curl -s $PAY/decision {json_type} -d \'{{"decision":"approve"}}\'; echo',
            f"     curl -sN {state.url}/v1/orders/$ORDER/stream \\",
            '       -H "Authorization: Bearer $TOKEN"',
            "",
            "  3. check every invariant over both stores",
            f"     {_command(settings, 'verify')}",
            "",
            "Ctrl-C stops everything; all data stays.",
            "",
        ]
    )


def _compact(value: dict[str, object]) -> str:
    """Compact JSON for a command line within single quotes."""
    import msgspec  # noqa: PLC0415

    return msgspec.json.encode(value).decode()


def _command(settings: Settings, name: str) -> str:
    """A command line that finds this very deployment from the present folder."""
    program = sys.argv[0] if Path(sys.argv[0]).name == "flashorder" else "flashorder"
    usual = (Path.cwd() / ".data").absolute()
    where = ""
    if settings.data_dir != usual:
        shown = os.path.relpath(settings.data_dir)
        where = f"FLASHORDER_DATA_DIR={shlex.quote(min(shown, str(settings.data_dir), key=len))} "
    return f"{where}{shlex.quote(program)} {name}"
