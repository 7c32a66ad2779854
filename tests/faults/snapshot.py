"""Both stores and both simulators after the quiet time, as plain records: what checks are about.

Ids are text, amounts minor units, times Unix seconds; an intent is the (ms, seq) of a stream entry.
"""

from __future__ import annotations

import msgspec

from tests.faults.store_log import StoreLog


class Item(msgspec.Struct, kw_only=True):
    """One SKU of one sale. ``initial`` and ``top_ups`` are units; ``committed`` PostgreSQL's."""

    sale_id: str
    sku: str
    initial: int
    top_ups: list[int] = []
    corrections: int = 0
    allotted: int
    committed: int
    per_buyer_limit: int
    sale_status: str = "open"

    @property
    def at_front(self) -> bool:
        """Whether the front has it: a draft is not told, what is settled is forgotten."""
        return self.sale_status not in ("draft", "settled")

    @property
    def on_sale(self) -> bool:
        """Whether it can be bought, so that what is wanted is sold."""
        return self.sale_status in ("open", "paused")


class FrontItem(msgspec.Struct, kw_only=True):
    """The same at one shard of the front."""

    shard: int
    sale_id: str
    sku: str
    stock: int
    sold: int


class Event(msgspec.Struct, kw_only=True):
    """A line of an order's timeline."""

    version: int
    type: str
    at: float = 0.0


class Order(msgspec.Struct, kw_only=True):
    """A row of ``orders`` with its line and its timeline; intent None: it came another way."""

    order_id: str
    buyer_id: str
    sale_id: str
    sku: str
    quantity: int
    status: str
    total_amount: int
    shard: int = 0
    intent: tuple[int, int] | None = None
    hold: int = 1
    cancel_reason: str | None = None
    released_at: float | None = None
    payment_due_at: float | None = None
    version: int = 1
    events: list[Event] = []


class DeadLetter(msgspec.Struct, kw_only=True):
    """A row of ``dead_letters``."""

    shard: int
    intent: tuple[int, int]
    order_id: str | None
    sale_id: str | None
    sku: str | None
    quantity: int | None
    status: str
    released: bool


class Payment(msgspec.Struct, kw_only=True):
    """A row of ``payments``; ``reference`` is the provider's name for it."""

    payment_id: str
    order_id: str
    status: str
    amount: int
    refunded_amount: int
    keeps_order: bool
    reference: str | None


class Refund(msgspec.Struct, kw_only=True):
    """A row of ``refunds``."""

    refund_id: str
    payment_id: str
    order_id: str
    status: str
    amount: int
    reason: str = ""


class Shipment(msgspec.Struct, kw_only=True):
    """A row of ``shipments``."""

    shipment_id: str
    order_id: str
    status: str
    tracking_number: str | None
    label_outcome: str | None = None
    """What the carrier said when the label was to be taken back."""


class Movement(msgspec.Struct, kw_only=True):
    """A capture or a refund in the provider's own books; ``ours`` is the reference that we gave."""

    payment: str
    ours: str
    amount: int


class Label(msgspec.Struct, kw_only=True):
    """A label in the carrier's own books; ``reference`` is the key that we gave."""

    reference: str
    tracking_number: str
    status: str
    progress: str


class Stream(msgspec.Struct, kw_only=True):
    """One shard's stream and its group; a count of 0 is: nothing left to do."""

    shard: int
    pending: int
    unread: int


class Commitment(msgspec.Struct, kw_only=True):
    """``sale_items`` as one UPDATE left it: witnessed by a trigger of the harness."""

    sale_id: str
    sku: str
    committed: int
    allotted: int


class Overdue(msgspec.Struct, kw_only=True):
    """Work that should be done by now, and how much of it there is."""

    what: str
    count: int


class Trim(msgspec.Struct, kw_only=True):
    """A stream trimmed of ``unread`` entries, and which checks of the service told of it."""

    shard: int
    unread: int
    told_by: list[str]


class OwnFinding(msgspec.Struct, kw_only=True):
    """A check of ``flashorder verify`` that does not hold: the service on itself."""

    check: str
    violations: int
    example: str


class Recheck(msgspec.Struct, kw_only=True):
    """What was done again although nothing should come of it, and which tables or keys changed."""

    what: str
    changed: list[str]


class Snapshot(msgspec.Struct, kw_only=True):
    """Everything at the end of a run."""

    items: list[Item]
    front: list[FrontItem]
    orders: list[Order]
    dead_letters: list[DeadLetter] = []
    payments: list[Payment] = []
    refunds: list[Refund] = []
    shipments: list[Shipment] = []
    captures: list[Movement] = []
    provider_refunds: list[Movement] = []
    labels: list[Label] = []
    streams: list[Stream] = []
    commitments: list[Commitment] = []
    overdue: list[Overdue] = []
    rechecks: list[Recheck] = []
    own_findings: list[OwnFinding] = []
    trims: list[Trim] = []
    internal_errors: list[str] = []
    """Calls of the staff that were answered 500."""
    log: StoreLog = msgspec.field(default_factory=StoreLog)
    shards: int = 1
    idempotency_secret: str = ""
    """In hex: by it the key of every purchase names its order, whether or not anybody was told."""
    settled_seconds: float = 0.0
    """How long it took from the end of the last fault until nothing was left to do."""
    demand_was_above_supply: bool = False
    """Whether buyers went on until each SKU was refused as sold out, and had paid."""
