"""How many connections a process has, and which of them have taken too long."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flashorder.infra.http.connections import GuardedConnection

# struct linger of socket(7): on, for no time at all.
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass
class Connections:
    """The connections of a process and their bounds; times are those of the event loop, seconds."""

    total_max: int
    per_address_max: int
    header_timeout_seconds: float
    write_timeout_seconds: float
    total: int = 0
    per_address: Counter[str] = field(default_factory=Counter)
    # Since when each is waiting for the rest of a request head, the longest waiting first.
    reading_head: dict[GuardedConnection, float] = field(default_factory=dict)
    # Since when each does not read what is written to it, the longest waiting first. A connection
    # that was closed forgets its transport, which lives on until everything is sent.
    not_read: dict[GuardedConnection, tuple[asyncio.Transport, float]] = field(default_factory=dict)

    def admit(self, address: str) -> bool:
        """Count a new connection of ``address``, if there is room for it."""
        if self.total >= self.total_max or self.per_address[address] >= self.per_address_max:
            return False
        self.total += 1
        self.per_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """A connection that was admitted has ended."""
        self.total -= 1
        self.per_address[address] -= 1
        if not self.per_address[address]:
            del self.per_address[address]

    def close_late(self, now: float) -> int:
        """Close every connection whose request head is overdue; how many."""
        late = 0
        for connection, since in list(self.reading_head.items()):
            if now - since < self.header_timeout_seconds:
                break
            del self.reading_head[connection]
            connection.head_is_late()
            late += 1
        return late

    def abort_not_read(self, now: float) -> int:
        """Give up every connection that has not read its answers in time; how many."""
        late = 0
        for connection, (transport, since) in list(self.not_read.items()):
            if now - since < self.write_timeout_seconds:
                break
            del self.not_read[connection]
            # The kernel's buffer is given up as well: megabytes, which nobody reads.
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _RESET
            )
            transport.abort()
            late += 1
        return late
