"""Which ports the roles of one machine listen on."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from flashorder.infra.embedded.ports import LOOPBACK, free_port, is_free
from flashorder.kernel.errors import Misconfigured
from flashorder.settings import Settings

_WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the web workers listen, and the simulators; None: a simulator is somewhere else."""

    host: str
    port: int
    payment_simulator_url: str
    payment_simulator_port: int | None
    carrier_simulator_url: str
    carrier_simulator_port: int | None

    @property
    def url(self) -> str:
        """How a program on this machine reaches the service."""
        host = LOOPBACK if self.host in _WILDCARDS else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def choose_addresses(settings: Settings) -> Addresses:
    """Addresses that are free now.

    Raises ``Misconfigured`` when the port asked for is taken: it is what others were told. A
    simulator whose usual port is taken gets another, for only our own roles know it.
    """
    if settings.port and not can_listen(settings.host, settings.port):
        raise Misconfigured(
            f"port {settings.port} of {settings.host} is taken by another process: stop that one, "
            "or choose another with FLASHORDER_PORT (0: any free one)"
        )
    port = settings.port or free_port()
    taken = {port}
    payments = _simulator(settings.payment_simulator_url, _is_default(settings, "payment"), taken)
    carrier = _simulator(settings.carrier_simulator_url, _is_default(settings, "carrier"), taken)
    return Addresses(settings.host, port, *payments, *carrier)


def can_listen(host: str, port: int) -> bool:
    """Whether a server could listen on ``host:port`` now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _is_default(settings: Settings, which: str) -> bool:
    return f"{which}_simulator_url" not in settings.model_fields_set


def _simulator(url: str, movable: bool, taken: set[int]) -> tuple[str, int | None]:
    parts = urlsplit(url)
    if parts.hostname not in (LOOPBACK, "localhost") or parts.scheme != "http":
        return url, None
    port = parts.port or 80
    if not is_free(port) or port in taken:
        if not movable:
            return url, None  # named by the operator and answering: theirs
        port = free_port()
        while port in taken:
            port = free_port()
        url = f"http://{LOOPBACK}:{port}"
    taken.add(port)
    return url, port
