"""The store's append-only file, read as what it is: every write there was, in one total order.

Scripts are logged by their effects, a transaction each, so every step of stock, of a buyer's
holding and of the stream can be judged by itself, and the position in the file is the witness of
what came before what. The log must not have been rewritten: the harness turns that off.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import hiredis
import msgspec

from flashorder.kernel.intents import INTENT_FIELD, unpack_intent

READ_BYTES = 1 << 20
BUYER_BYTES = 16
EARLY_TRIM_MARK = "chaos:early-trim"
"""A key that is written in the transaction in which the harness itself trims a stream."""
_SALE_KEY = re.compile(rb"^\{s(\d+)\}:sale:([0-9a-f-]{36}):(stock|sold|buyers|tokens)$")
_INTENTS_KEY = re.compile(rb"^\{s(\d+)\}:intents$")
Command = list[bytes]


class LogWasRewritten(Exception):
    """What came before is gone, and with it the witness."""


class Entry(msgspec.Struct, frozen=True):
    """An intent that was added to a stream; ``position`` counts transactions of the log."""

    position: int
    shard: int
    intent: tuple[int, int]
    order_id: str
    buyer_id: str
    sale_id: str
    sku: str
    quantity: int


class Step(msgspec.Struct, frozen=True):
    """The units of something after the transaction at ``position``."""

    position: int
    units: int


class HoldStep(msgspec.Struct, frozen=True):
    """An order's record after the transaction: whether the units are held, by which hold."""

    position: int
    order_id: str
    held: bool
    hold: int


class Transaction(msgspec.Struct, frozen=True):
    """What one transaction did to one SKU of one sale, where the sum is not what it must be."""

    position: int
    what: str


class StoreLog(msgspec.Struct):
    """Everything that the log tells. Times are positions; a sale's SKU is ``shard/sale/sku``.

    ``stock``: units still to be had, step by step. ``holdings``: by ``shard/sale/buyer/sku``.
    ``holds``: by order id, of the
    present generation. ``entries`` in the order of the log; ``removed``: intents that were
    trimmed or deleted, with the position. ``unbalanced``: transactions that moved units otherwise
    than they may. ``flushes``: positions at which everything was thrown away. ``early_trims``:
    positions at which the harness trimmed what PostgreSQL did not have.
    """

    length: int = 0
    entries: list[Entry] = []
    stock: dict[str, list[Step]] = {}
    holdings: dict[str, list[Step]] = {}
    holds: dict[str, list[HoldStep]] = {}
    removed: list[tuple[int, int, tuple[int, int]]] = []
    unbalanced: list[Transaction] = []
    flushes: list[int] = []
    early_trims: list[int] = []


def read_store_log(folder: Path) -> StoreLog:
    """Replay the log in the store's ``appendonlydir``. Raises ``LogWasRewritten``."""
    return replay(transactions(_incremental_file(folder)))


def transactions(path: Path) -> Iterator[list[Command]]:
    """The commands of each transaction; one that was cut off at the end never was."""
    reader = hiredis.Reader()
    open_transaction: list[Command] | None = None
    with path.open("rb") as file:
        while data := file.read(READ_BYTES):
            reader.feed(data)
            while True:
                command = reader.gets()
                if command is False:
                    break
                name = command[0].upper()
                if name == b"MULTI":
                    open_transaction = []
                elif name == b"EXEC":
                    yield open_transaction or []
                    open_transaction = None
                elif open_transaction is not None:
                    open_transaction.append(command)
                elif name != b"SELECT":
                    yield [command]


def replay(log: Iterator[list[Command]]) -> StoreLog:
    """The log, understood."""
    store = _Replay()
    for commands in log:
        store.apply(commands)
    return store.log


def _incremental_file(folder: Path) -> Path:
    listed = (folder / "appendonly.aof.manifest").read_text().split("\n")
    files = [line.split() for line in listed if line]
    increments = [words[1] for words in files if words[-1] == "i"]
    if len(increments) != 1 or not increments[0].endswith(".1.incr.aof"):
        raise LogWasRewritten(f"{folder} has {len(increments)} increments: {increments}")
    return folder / increments[0]


class _Replay:
    """A small model of the keys that units are counted in."""

    def __init__(self) -> None:
        self.log = StoreLog()
        self._stock: dict[str, int] = {}
        self._sold: dict[str, int] = {}
        self._root_of: dict[str, str] = {}
        self._streams: defaultdict[int, deque[tuple[int, int]]] = defaultdict(deque)

    def apply(self, commands: Sequence[Command]) -> None:
        """One transaction."""
        self.log.length += 1
        before = dict(self._stock), dict(self._sold)
        added: defaultdict[str, int] = defaultdict(int)
        names = set()
        for command in commands:
            name = command[0].upper()
            names.add(name)
            if name in (b"FLUSHALL", b"FLUSHDB"):
                self._flush()
            elif name == b"SET" and command[1] == EARLY_TRIM_MARK.encode():
                self.log.early_trims.append(self.log.length)
            elif name in (b"UNLINK", b"DEL"):
                for key in command[1:]:
                    self._forget(key)
            elif match := _SALE_KEY.match(command[1]) if len(command) > 1 else None:
                self._sale(name, match, command)
            elif match := _INTENTS_KEY.match(command[1]) if len(command) > 1 else None:
                self._stream(name, int(match[1]), command, added)
        self._judge(commands, before, added)

    def _sale(self, name: bytes, match: re.Match[bytes], command: Command) -> None:
        root = f"{match[1].decode()}/{match[2].decode()}"
        kind = match[3]
        fields = command[2:]
        if kind in (b"stock", b"sold"):
            self._units(name, root, kind, fields)
        elif kind == b"buyers":
            self._buyers(name, root, fields)
        elif name == b"HSET":
            for token, record in zip(fields[::2], fields[1::2], strict=True):
                order_id = str(UUID(bytes=record[2:8] + token))
                step = HoldStep(self.log.length, order_id, record[:1] == b"A", record[1])
                self.log.holds.setdefault(order_id, []).append(step)
                self._root_of[order_id] = root

    def _units(self, name: bytes, root: str, kind: bytes, fields: Command) -> None:
        units = self._stock if kind == b"stock" else self._sold
        pairs = list(zip(fields[::2], fields[1::2], strict=False))
        for raw, value in pairs:
            item = f"{root}/{raw.decode()}"
            present = units.get(item, 0)
            units[item] = present + int(value) if name == b"HINCRBY" else int(value)
            if kind == b"stock":
                step = Step(self.log.length, units[item])
                self.log.stock.setdefault(item, []).append(step)

    def _buyers(self, name: bytes, root: str, fields: Command) -> None:
        if name == b"HDEL":
            pairs = [(field, b"0") for field in fields]
        else:
            pairs = list(zip(fields[::2], fields[1::2], strict=True))
        for field, value in pairs:
            buyer = UUID(bytes=field[:BUYER_BYTES])
            holding = f"{root}/{buyer}/{field[BUYER_BYTES:].decode()}"
            steps = self.log.holdings.setdefault(holding, [])
            present = steps[-1].units if steps else 0
            units = present + int(value) if name == b"HINCRBY" else int(value)
            steps.append(Step(self.log.length, units))

    def _stream(
        self, name: bytes, shard: int, command: Command, added: defaultdict[str, int]
    ) -> None:
        stream = self._streams[shard]
        if name == b"XADD":
            at = next(n for n, word in enumerate(command) if _is_id(word))
            entry = self._entry(shard, command[at], command[at + 1 :])
            self.log.entries.append(entry)
            stream.append(entry.intent)
            added[f"{shard}/{entry.sale_id}/{entry.sku}"] += entry.quantity
            if at > 2:  # a limit on the length travels with the XADD
                self._trim(shard, [word.upper() for word in command[2:at]])
        elif name == b"XTRIM":
            self._trim(shard, [word.upper() for word in command[2:]])
        elif name == b"XDEL":
            gone = {_intent(word) for word in command[2:]}
            self.log.removed += [(self.log.length, shard, each) for each in stream if each in gone]
            self._streams[shard] = deque(each for each in stream if each not in gone)

    def _trim(self, shard: int, words: Command) -> None:
        """Take from the front only: a trim costs what it removes, however long the stream is."""
        stream = self._streams[shard]
        value = next(word for word in words if word[:1].isdigit())
        first = _intent(value) if b"MINID" in words else None
        kept = 0 if first else int(value)
        while len(stream) > kept and (first is None or stream[0] < first):
            self.log.removed.append((self.log.length, shard, stream.popleft()))

    def _entry(self, shard: int, intent: bytes, flat: Command) -> Entry:
        raw = unpack_intent(dict(zip(flat[::2], flat[1::2], strict=True))[INTENT_FIELD])
        return Entry(
            self.log.length,
            shard,
            _intent(intent),
            str(UUID(bytes=raw.order_id)),
            str(UUID(bytes=raw.buyer_id)),
            str(UUID(bytes=raw.sale_id)),
            raw.sku.decode(),
            raw.quantity,
        )

    def _forget(self, key: bytes) -> None:
        """A key is gone as a whole: a sale that is opened anew, or settled."""
        match = _SALE_KEY.match(key)
        if match is None:
            return
        root = f"{match[1].decode()}/{match[2].decode()}/"
        units = {b"stock": self._stock, b"sold": self._sold}.get(match[3])
        if units is not None:
            for item in [each for each in units if each.startswith(root)]:
                del units[item]
        elif match[3] == b"tokens":
            self._forget_holds(f"{match[1].decode()}/{match[2].decode()}")
        else:
            for holding in [each for each in self.log.holdings if each.startswith(root)]:
                self.log.holdings[holding].append(Step(self.log.length, 0))

    def _forget_holds(self, root: str) -> None:
        """A generation that is filled anew begins with whatever PostgreSQL says."""
        for order_id in [each for each, its in self._root_of.items() if its == root]:
            del self._root_of[order_id]
            del self.log.holds[order_id]

    def _flush(self) -> None:
        self.log.flushes.append(self.log.length)
        self._root_of.clear()
        self.log.holds.clear()
        for steps in self.log.holdings.values():
            steps.append(Step(self.log.length, 0))
        self._stock.clear()
        self._sold.clear()
        self._streams.clear()

    def _judge(
        self,
        commands: Sequence[Command],
        before: tuple[dict[str, int], dict[str, int]],
        added: dict[str, int],
    ) -> None:
        """Units move from stock to sold and back; only a sale's opening and a top-up make any."""
        makes_units = any(
            command[0].upper() in (b"SADD", b"UNLINK", b"DEL", b"FLUSHALL") for command in commands
        )
        stock_before, sold_before = before
        for item in {*self._stock, *stock_before, *added}:
            taken = stock_before.get(item, 0) - self._stock.get(item, 0)
            sold = self._sold.get(item, 0) - sold_before.get(item, 0)
            wrong = []
            if taken != sold and not makes_units:
                wrong.append(f"{taken} units left the stock and {sold} were sold")
            if added.get(item, 0) and taken != added[item]:
                wrong.append(f"entries of {added[item]} units were added and {taken} were taken")
            for what in wrong:
                self.log.unbalanced.append(Transaction(self.log.length, f"{item}: {what}"))


def _intent(raw: bytes) -> tuple[int, int]:
    ms, _, seq = raw.partition(b"-")
    return int(ms), int(seq or 0)


def _is_id(word: bytes) -> bool:
    ms, dash, seq = word.partition(b"-")
    return bool(dash) and ms.isdigit() and seq.isdigit()
