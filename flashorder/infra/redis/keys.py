"""Every key name there is, and nowhere else.

All keys of a shard carry its hash tag, ``{s0}``, ``{s1}`` …, so each script runs unchanged on a
Redis Cluster. Scripts get keys through KEYS and build none.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass


def intents(shard: int) -> str:
    """Stream: one entry an accepted purchase, all sales of the shard; XADD by reserve.lua and
    honour.lua only."""
    return f"{{s{shard}}}:intents"


def life(shard: int) -> str:
    """Hash: whose data the shard's was when it was verified last (``identity``, a server's run_id),
    where each of the last lives of it began (``lives``: `` identity@id`` one after the other), and
    which one began by giving up what it lacked (``gave_up``, an identity)."""
    return f"{{s{shard}}}:life"


def sales(shard: int) -> str:
    """Set: the ids of the sales that the shard knows, as text."""
    return f"{{s{shard}}}:sales"


@dataclass(frozen=True, slots=True)
class SaleKeys:
    """The keys of one sale in one shard; templates as the headers of lua/ name them."""

    sale: str
    """Hash ``{sN}:sale:<id>``: status, starts_at_ms, ends_at_ms, generation, revision, …; of one
    that was fenced the generation is called ``fenced``; while a rebuild fills it there is
    ``filling``, and from its settling on ``sealed``."""
    items: str
    """Hash ``{sN}:sale:<id>:items``: ``<sku>`` → ``price|limit|list price|name``."""
    stock: str
    """Hash ``{sN}:sale:<id>:stock``: ``<sku>`` → units still to be had."""
    sold: str
    """Hash ``{sN}:sale:<id>:sold``: ``<sku>`` → units taken and not released."""
    buyers: str
    """Hash ``{sN}:sale:<id>:buyers``: 16 bytes of buyer id + sku → units held."""
    tokens: str
    """Hash ``{sN}:sale:<id>:tokens``: 10 bytes of token → the purchase's record."""
    accepts: str
    """Hash ``{sN}:sale:<id>:accepts``: ``<sku>`` → purchases ever accepted; it only grows."""
    top_ups: str
    """Set ``{sN}:sale:<id>:top_ups``: ids of the top-ups that were applied."""
    leases: str
    """Hash ``{sN}:sale:<id>:leases``: ``<sku>`` → Unix ms before which none of it is sold, because
    a worker refuses it by itself; expires by itself within a second."""

    def all(self) -> tuple[str, ...]:
        """Every key that stays, for removal when the sale is settled."""
        return (
            self.sale,
            self.items,
            self.stock,
            self.sold,
            self.buyers,
            self.tokens,
            self.accepts,
            self.top_ups,
        )


def sale_keys(shard: int, sale_id: uuid.UUID) -> SaleKeys:
    """The keys of ``sale_id`` in ``shard``."""
    root = f"{{s{shard}}}:sale:{sale_id}"
    return SaleKeys(
        sale=root,
        items=f"{root}:items",
        stock=f"{root}:stock",
        sold=f"{root}:sold",
        buyers=f"{root}:buyers",
        tokens=f"{root}:tokens",
        accepts=f"{root}:accepts",
        top_ups=f"{root}:top_ups",
        leases=f"{root}:leases",
    )


def reserve_keys(shard: int, sale_id: uuid.UUID) -> tuple[str, ...]:
    """KEYS of lua/reserve.lua and lua/honour.lua, in their order."""
    sale = sale_keys(shard, sale_id)
    return (
        sale.sale,
        sale.items,
        sale.stock,
        sale.sold,
        sale.buyers,
        sale.tokens,
        sale.accepts,
        sale.leases,
        intents(shard),
    )
