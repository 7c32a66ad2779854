"""The table in the code, the picture in the docs and the CHECK in PostgreSQL are one machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from flashorder.fulfilment.model import SHIPMENT
from flashorder.kernel.errors import InvalidState
from flashorder.kernel.machine import Machine
from flashorder.orders.model import ORDER
from flashorder.payments.model import PAYMENT, REFUND
from flashorder.sales.model import SALE

DOCUMENT = Path(__file__).parents[2] / "docs" / "state_machines.md"
TABLES: dict[str, tuple[Machine[Any], str]] = {
    machine.name: (machine, table)
    for machine, table in [
        (SALE, "sales"),
        (ORDER, "orders"),
        (PAYMENT, "payments"),
        (REFUND, "refunds"),
        (SHIPMENT, "shipments"),
    ]
}


def drawn(name: str) -> set[tuple[str, str]]:
    section = re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.M)
    (mine,) = [part for part in section if part.lower().startswith(name)]
    picture = mine.split("```mermaid")[1].split("```")[0]
    return set(re.findall(r"^ *(\w+) --> (\w+)", picture, re.M)) - {("*", "*")}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_picture_is_the_table(name: str) -> None:
    machine, _ = TABLES[name]
    assert drawn(name) == {(str(source), str(target)) for source, target in machine.pairs()}


@pytest.mark.parametrize("name", sorted(TABLES))
async def test_the_database_knows_the_same_states(name: str, database_url: str) -> None:
    machine, table = TABLES[name]
    connection = await asyncpg.connect(database_url)
    definitions = await connection.fetch(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = $1::regclass AND contype = 'c'",
        table,
    )
    column_default = await connection.fetchval(
        "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef JOIN pg_attribute "
        "ON attrelid = adrelid AND attnum = adnum "
        "WHERE adrelid = $1::regclass AND attname = 'status'",
        table,
    )
    await connection.close()
    states = {str(state) for state in machine.transitions}
    listed = [set(re.findall(r"'(\w+)'::text", row[0])) for row in definitions]
    assert states in listed, f"no CHECK of {table} lists exactly the states of {name}"
    assert column_default == f"'{machine.initial}'::text"


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_pair_is_permitted_or_refused(name: str) -> None:
    machine, _ = TABLES[name]
    permitted = set(machine.pairs())
    for source in machine.transitions:
        for target in machine.transitions:
            if (source, target) in permitted:
                machine.check(source, target)
                assert str(source) in machine.sources(target)
            else:
                assert str(source) not in machine.sources(target)
                with pytest.raises(InvalidState):
                    machine.check(source, target)
