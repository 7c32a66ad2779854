"""The carrier's books tell of damage in one line, with the way out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from flashorder.fulfilment.simulator.books import Books
from flashorder.fulfilment.simulator.control import Control
from flashorder.kernel.errors import Misconfigured


def test_what_is_no_database_is_told_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "carrier_simulator.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(Misconfigured, match="move the file away"):
        Books(path, random.Random())


def test_damage_behind_a_good_head_is_told_at_the_opening(tmp_path: Path) -> None:
    path = tmp_path / "carrier_simulator.sqlite"
    books = Books(path, random.Random())
    for number in range(100):
        books.create_label(f"key {number}", {"address": "x" * 200}, 1, Control())
    books.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with pytest.raises(Misconfigured, match="move the file away"):
        Books(path, random.Random())


def test_a_path_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be opened"):
        Books(tmp_path, random.Random())
