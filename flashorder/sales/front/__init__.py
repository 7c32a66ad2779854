"""What a sale looks like at the front, and the scripts that open, change and read it there."""

from flashorder.sales.front.model import (
    FENCED,
    ChangeOutcome,
    FrontItem,
    FrontSale,
    OpenOutcome,
    RestoredPurchase,
    RestoreOutcome,
    SealOutcome,
    ShardSnapshot,
    TopUpOutcome,
)
from flashorder.sales.front.scripts import SaleFront

__all__ = [
    "FENCED",
    "ChangeOutcome",
    "FrontItem",
    "FrontSale",
    "OpenOutcome",
    "RestoreOutcome",
    "RestoredPurchase",
    "SaleFront",
    "SealOutcome",
    "ShardSnapshot",
    "TopUpOutcome",
]
