"""Every script and every state machine has a stateful test; this is the list."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
from hypothesis.stateful import RuleBasedStateMachine

import flashorder
from flashorder.infra.redis.scripts import script_folder
from flashorder.kernel.machine import Machine
from tests.consumer.test_stream_machine import StreamMachine
from tests.fencing.test_fence_machine import FenceMachine
from tests.fencing.test_machine import LivesMachine
from tests.fulfilment.test_machine import Warehouse
from tests.orders.test_machine import OrderMachine
from tests.payments.test_recording import PaymentBooks
from tests.reservations.test_honouring import ReceiptMachine
from tests.reservations.test_scripts import FrontMachine
from tests.reservations.test_sold_out import MemoMachine
from tests.sales.test_front_machine import FrontOfGenerations
from tests.sales.test_walk import SaleWalk

SCRIPTS: dict[str, list[type[RuleBasedStateMachine]]] = {
    "begin_life": [LivesMachine],
    "change_sale": [FrontOfGenerations, FrontMachine, SaleWalk],
    "check_life": [LivesMachine],
    "fence_sale": [FenceMachine],
    "forget_consumers": [StreamMachine],
    "give_up": [LivesMachine, FenceMachine],
    "honour": [ReceiptMachine],
    "mark": [FenceMachine],
    "open_sale": [FrontOfGenerations, FrontMachine, SaleWalk],
    "reclaim": [FrontOfGenerations, FrontMachine, MemoMachine],
    "release": [FrontOfGenerations, FrontMachine, MemoMachine, SaleWalk],
    "reserve": [FrontOfGenerations, FrontMachine, MemoMachine, SaleWalk],
    "restore": [FrontOfGenerations],
    "seal_sale": [ReceiptMachine, SaleWalk],
    "snapshot": [FrontOfGenerations, FrontMachine, SaleWalk],
    "sold_out": [MemoMachine, FrontMachine],
    "top_up": [FrontOfGenerations, FrontMachine, SaleWalk],
}
MACHINES: dict[str, type[RuleBasedStateMachine]] = {
    "order": OrderMachine,
    "payment": PaymentBooks,
    "refund": PaymentBooks,
    "sale": SaleWalk,
    "shipment": Warehouse,
}


def test_every_script_has_one() -> None:
    names = {entry.name for entry in script_folder().iterdir() if entry.name.endswith(".lua")}
    assert names == {f"{name}.lua" for name in SCRIPTS}


def test_every_state_machine_has_one() -> None:
    declared = set()
    for module in pkgutil.walk_packages(flashorder.__path__, "flashorder."):
        if module.name.endswith("model"):
            members = vars(importlib.import_module(module.name)).values()
            declared |= {each.name for each in members if isinstance(each, Machine)}
    assert declared == set(MACHINES)


ALL = {*MACHINES.values(), *(each for tests in SCRIPTS.values() for each in tests)}


@pytest.mark.parametrize("machine", sorted(ALL, key=lambda each: each.__name__))
def test_each_is_run_by_a_test_of_its_module(machine: type[RuleBasedStateMachine]) -> None:
    module = inspect.getmodule(machine)
    assert module is not None
    running = [
        source
        for name, each in vars(module).items()
        if name.startswith("test_") and inspect.isfunction(each)
        if "run_state_machine_as_test(" in (source := inspect.getsource(each))
    ]
    assert any(machine.__name__ in source for source in running)
