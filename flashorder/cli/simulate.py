"""``flashorder simulate``: the outside world, played by the project itself."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from flashorder.cli.output import JsonOption, print_json
from flashorder.kernel.errors import Misconfigured
from flashorder.settings import load_settings

if TYPE_CHECKING:
    from aiohttp import web

PortOption = Annotated[
    int | None,
    typer.Option("--port", min=1, max=65535, help="Port to listen on; else that of the URL."),
]
HostOption = Annotated[str, typer.Option("--host", help="Address to listen on.")]
SHUTDOWN_SECONDS = 5.0


def register(root: typer.Typer) -> None:
    """Add the group ``simulate``."""
    group = typer.Typer(help="Play a payment provider or a carrier.", no_args_is_help=True)
    group.command("payments")(simulate_payments)
    group.command("carrier")(simulate_carrier)
    root.add_typer(group, name="simulate")


def simulate_payments(
    port: PortOption = None, host: HostOption = "127.0.0.1", as_json: JsonOption = False
) -> None:
    """Play a payment provider until SIGTERM or Ctrl-C."""
    from flashorder.payments.simulator import build_payment_simulator  # noqa: PLC0415

    settings = load_settings()
    url = simulator_url(settings.payment_simulator_url, host, port)
    app = build_payment_simulator(settings.model_copy(update={"payment_simulator_url": url}))
    serve_until_told(app, "payment simulator", url, host=host, as_json=as_json)


def simulate_carrier(
    port: PortOption = None, host: HostOption = "127.0.0.1", as_json: JsonOption = False
) -> None:
    """Play a carrier until SIGTERM or Ctrl-C."""
    from flashorder.fulfilment.simulator import build_carrier_simulator  # noqa: PLC0415

    settings = load_settings()
    url = simulator_url(settings.carrier_simulator_url, host, port)
    app = build_carrier_simulator(settings.model_copy(update={"carrier_simulator_url": url}))
    serve_until_told(app, "carrier simulator", url, host=host, as_json=as_json)


def simulator_url(configured: str, host: str, port: int | None) -> str:
    """The URL that callers use: the configured one, unless another port is listened on."""
    if port is None or port == _port_of(configured):
        return configured
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"  # noqa: S104


def serve_until_told(
    app: web.Application, name: str, url: str, *, host: str, as_json: bool
) -> None:
    """Serve ``app`` on the port of ``url``; says when it is ready, ends on SIGTERM or SIGINT."""
    asyncio.run(_serve(app, name, url, host, as_json))


async def _serve(app: web.Application, name: str, url: str, host: str, as_json: bool) -> None:
    from aiohttp import web  # noqa: PLC0415

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        port = _port_of(url)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise Misconfigured(f"cannot listen on {host}:{port}: {error.strerror}") from None
        if as_json:
            print_json({"ready": name, "url": url})
        else:
            typer.echo(f"{name} ready on {url}")
        await stopping.wait()
    finally:
        await runner.cleanup()


def _port_of(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)
