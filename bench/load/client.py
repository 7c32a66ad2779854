"""A client that keeps a schedule: what is due is sent, whatever became of what was sent before.

Usage: ``python -m bench.load.client JSON`` with an object of
    port, path, body
    buyers:        file of header lines, one a buyer, taken in turn
    count:         requests
    connections:   opened before the first is due
    over_seconds:  the requests are spread evenly over so long
    start_at:      Unix time of the first, or null: as soon as all connections are there
    wait_seconds:  how long after the last for answers that are still out
    sample_every:  print order id and Unix time of each nth acceptance as it comes (0: none)

The latency of an answer counts from when its request was due. A request that is due while every
connection waits for an answer is not sent, and counted as ``unsent``. Prints a line of JSON with
``"tally"`` at the end.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import secrets
import sys
import time
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

TICK_SECONDS = 0.001
CONNECTING_AT_ONCE = 200
_CODE = re.compile(rb'"code": *"([a-z_]+)"')
_ORDER = re.compile(rb'"order_id": *"([^"]+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Tally:
    """What came back. ``untyped``: a failure without a code, or no answer at all."""

    sent: int = 0
    unsent: int = 0
    lost: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    accepted_ms: array[float] = field(default_factory=lambda: array("d"))
    last_answer_at: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sent": self.sent,
            "unsent": self.unsent,
            "lost": self.lost,
            "outcomes": dict(self.outcomes),
            "without_retry_after": self.without_retry_after,
            **{
                f"accepted_p{share}_ms": percentile(self.accepted_ms, share / 100)
                for share in (50, 99, 100)
            },
            "last_answer_at": self.last_answer_at,
        }


def percentile(values: array[float], share: float) -> float:
    """Nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0


def outcome_of(head: bytes, body: bytes) -> str:
    """``202``, or status and code of a problem; a failure without a code is ``untyped``."""
    status = head[9:12].decode("ascii", errors="replace")
    if status < "400":
        return status
    code = _CODE.search(body)
    return f"{status} {code.group(1).decode()}" if code else f"{status} untyped"


class Connection(asyncio.Protocol):
    """One connection: idle, or waiting for one answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._received = b""
        self._due: float | None = None
        self.transport: asyncio.Transport | None = None

    @property
    def usable(self) -> bool:
        """Whether it can carry a request."""
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open."""
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, due: float) -> None:
        """``due`` in Unix time."""
        assert self.transport is not None, "only open connections are idle"
        self._due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Most answers come in one piece."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end]
        length = _LENGTH.search(head)
        size = end + 4 + (int(length.group(1)) if length else 0)
        if len(self._received) < size or self._due is None:
            return
        body, self._received = self._received[end + 4 : size], b""
        due, self._due = self._due, None
        self._client.answered(self, due, head, body)

    def connection_lost(self, error: Exception | None) -> None:
        """What was out is lost."""
        if self._due is not None:
            self._client.lost()
        self._client.closed()


class Client:
    """Sends ``plan`` and counts what comes back."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._tally = Tally()
        self._idle: deque[Connection] = deque()
        self._out = 0
        self._missing = 0
        self._accepted = 0
        self._prefix = secrets.token_hex(6)
        body = plan["body"].encode()
        self._tail = b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        lead = f"POST {plan['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
        lead += b"Content-Type: application/json\r\n"
        with open(plan["buyers"], "rb") as lines:  # noqa: PTH123 - bytes, before the loop runs
            self._heads = [lead + line.rstrip() + b"\r\nIdempotency-Key: " for line in lines]

    async def run(self) -> dict[str, Any]:
        """Connect, send on schedule, wait for what is out."""
        left = self._plan["connections"]
        while left > 0:
            some = min(left, CONNECTING_AT_ONCE)
            await asyncio.gather(*(self._connect() for _ in range(some)))
            left -= some
        start = self._plan["start_at"] or time.time()
        await asyncio.sleep(max(0.0, start - time.time()))
        await self._send_all(start)
        deadline = time.time() + self._plan["wait_seconds"]
        while self._out and time.time() < deadline:  # noqa: ASYNC110 - polls are enough here
            await asyncio.sleep(0.005)
        self._tally.lost += self._out
        return self._tally.as_dict() | {"start_at": start}

    async def _send_all(self, start: float) -> None:
        count, over = self._plan["count"], self._plan["over_seconds"]
        number = 0
        while number < count:
            now = time.time()
            due_by_now = min(count, int((now - start) / over * count) + 1)
            while number < due_by_now:
                self._send(number, start + number / count * over)
                number += 1
            if self._missing:
                self._missing -= 1
                await self._connect()
            await asyncio.sleep(TICK_SECONDS)

    def _send(self, number: int, due: float) -> None:
        while self._idle:
            connection = self._idle.popleft()
            if connection.usable:
                head = self._heads[number % len(self._heads)]
                key = f"{self._prefix}{number}".encode()
                connection.send(head + key + self._tail, due)
                self._tally.sent += 1
                self._out += 1
                return
        self._tally.unsent += 1

    def answered(self, connection: Connection, due: float, head: bytes, body: bytes) -> None:
        """Count an answer; its connection is idle again."""
        now = time.time()
        tally = self._tally
        self._out -= 1
        outcome = outcome_of(head, body)
        tally.outcomes[outcome] += 1
        tally.last_answer_at = now
        if outcome == "202":
            tally.accepted_ms.append((now - due) * 1000)
            self._sample(body, now)
        elif outcome[0] == "5" or outcome[:3] == "429":
            tally.without_retry_after += b"\r\nretry-after:" not in head.lower()
        self._idle.append(connection)

    def lost(self) -> None:
        """A request will not be answered."""
        self._out -= 1
        self._tally.lost += 1

    def closed(self) -> None:
        """A connection is gone; another is opened in its place."""
        self._missing += 1

    def _sample(self, body: bytes, now: float) -> None:
        self._accepted += 1
        every = self._plan["sample_every"]
        if every and self._accepted % every == 0 and (order := _ORDER.search(body)):
            sys.stdout.write(f'{{"order": "{order.group(1).decode()}", "at": {now!r}}}\n')
            sys.stdout.flush()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self), "127.0.0.1", self._plan["port"]
            )
        except OSError:
            self._missing += 1
            return
        self._idle.append(connection)


def main() -> None:
    """Run the plan in argv[1]."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    client = Client(json.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tally = runner.run(client.run())
    print(json.dumps({"tally": tally}))


if __name__ == "__main__":
    main()
