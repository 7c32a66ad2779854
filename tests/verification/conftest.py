"""A sale in both stores, and the verification over them."""

from __future__ import annotations

import pytest

from flashorder.verification.invariants import INVARIANTS
from flashorder.verification.service import Verification
from flashorder.verification.stores import StoreChecks
from tests.inventory.reconciliation.conftest import desk  # noqa: F401
from tests.inventory.reconciliation.desk import Desk


@pytest.fixture
def verification(desk: Desk) -> Verification:  # noqa: F811
    checks = StoreChecks(desk.pool, desk.redis, desk.reader, 1)
    return Verification(desk.pool, desk.redis, checks, 1, {"verification": INVARIANTS})
