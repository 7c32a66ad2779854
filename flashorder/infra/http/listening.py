"""Sockets on which several processes listen, owned by the one that outlives them.

A socket that is closed resets every connection that waits in its queue, also where others share
its port (SO_REUSEPORT). So the parent of the workers opens one socket for each, hands them down
and keeps them: a worker may end as it likes, and what waits is served by its successor.
docs/adr/0012 has the reasons.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from flashorder.kernel.errors import Misconfigured

LISTEN_BACKLOG: Final = 4096
# linux/socket.h and linux/filter.h; Python names none of these.
_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_LOAD_RANDOM: Final = (0x20, 0, 0, 0xFFFFF000 + 56)
_MODULO: Final = 0x94
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server answers."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """As a client writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class SharedPort:
    """``count`` sockets that listen on one port, socket *i* for worker *i* and its successors.

    Connections are taken from the first moment on, and wait until a worker is there.
    """

    def __init__(self, host: str, port: int, count: int) -> None:
        """Port 0 finds a free one; ``Misconfigured`` when the port cannot be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if port:
            check_free(host, port)
        self._sockets: list[socket.socket] = []
        try:
            for _ in range(count):
                each = socket.socket(family, socket.SOCK_STREAM)
                self._sockets.append(each)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                each.setblocking(False)
                each.bind((host, port))
                port = each.getsockname()[1]
            # In this order the kernel numbers them.
            for each in self._sockets:
                each.listen(LISTEN_BACKLOG)
        except OSError as error:
            self.close()
            raise port_failure(host, port, error) from None
        self.listening = Listening(host, port)

    def fileno(self, index: int) -> int:
        """The descriptor to hand to worker ``index``."""
        return self._sockets[index].fileno()

    def steer(self, indexes: Collection[int]) -> None:
        """Have new connections go to these sockets alone; none named: to all of them.

        Nothing is lost where the kernel knows no such thing: a connection then waits for the
        worker that is away. Linux since 4.5: socket(7), SO_ATTACH_REUSEPORT_CBPF.
        """
        if sys.platform != "linux" or not self._sockets:
            return
        program = _program(sorted(indexes) or list(range(len(self._sockets))))
        instructions = ctypes.create_string_buffer(program, len(program))
        described = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
        with suppress(OSError):
            self._sockets[0].setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, described)

    def close(self) -> None:
        """Leave the port to the workers: it is gone when the last of them closes its socket."""
        for each in self._sockets:
            each.close()
        self._sockets.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _program(indexes: list[int]) -> bytes:
    """Classic BPF that returns one of ``indexes``, each as likely as the others."""
    steps = [_LOAD_RANDOM, (_MODULO, 0, 0, len(indexes))]
    for place, index in enumerate(indexes):
        steps += [(_JUMP_IF_EQUAL, 0, 1, place), (_RETURN, 0, 0, index)]
    steps.append((_RETURN, 0, 0, indexes[0]))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def accept_waiting(
    listener: socket.socket, count_max: int = 2 * LISTEN_BACKLOG
) -> list[socket.socket]:
    """The connections that wait in the queue of ``listener``, which must not block.

    All of them, or the first ``count_max``.
    """
    waiting: list[socket.socket] = []
    for _ in range(count_max):
        try:
            connection, _ = listener.accept()
        except ConnectionAbortedError:
            continue
        except OSError:  # none is left, or no descriptor
            break
        waiting.append(connection)
    return waiting


def check_free(host: str, port: int, *, setting: str = "FLASHORDER_PORT") -> None:
    """Bind without sharing: a foreign server that shares its port would not be noticed else.

    Raises ``Misconfigured``.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise port_failure(host, port, error, setting=setting) from None


def port_failure(
    host: str, port: int, error: OSError, *, setting: str = "FLASHORDER_PORT"
) -> Misconfigured:
    """Why nothing can listen there, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return Misconfigured(
            f"port {port} of {host} is taken: stop who listens there, or set {setting} to "
            "another (0: any free one)"
        )
    return Misconfigured(f"cannot listen on {host}, port {port}: {error.strerror or error}")
