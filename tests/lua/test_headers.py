"""Each script's header is its contract: held against its code, the key names and the enums."""

from __future__ import annotations

import re
import uuid
from dataclasses import fields

import pytest
from msgspec import structs

from flashorder.fencing.lives import BEGIN_CODES, FENCE_CODES, GIVE_UP_CODES, MARK_CODES
from flashorder.infra.redis import keys
from flashorder.infra.redis.lives import CHECK_CODES
from flashorder.infra.redis.scripts import load_script, script_folder
from flashorder.reservations.holds import RECLAIM_CODES, RELEASE_CODES
from flashorder.reservations.records import HonourCode, Purchase, ReserveCode
from flashorder.sales.front.scripts import (
    CHANGE_CODES,
    OPEN_CODES,
    RESTORE_CODES,
    SEAL_CODES,
    TOP_UP_CODES,
)

SCRIPTS = sorted(
    entry.name.removesuffix(".lua")
    for entry in script_folder().iterdir()
    if entry.name.endswith(".lua")
)
CODES = {
    "reserve": {code.name: code.value for code in ReserveCode},
    "honour": {code.name: code.value for code in HonourCode},
    "seal_sale": {outcome.name: code for code, outcome in SEAL_CODES.items()},
    "release": {outcome.name: code for code, outcome in RELEASE_CODES.items()},
    "reclaim": {outcome.name: code for code, outcome in RECLAIM_CODES.items()},
    "open_sale": {outcome.name: code for code, outcome in OPEN_CODES.items()},
    "change_sale": {outcome.name: code for code, outcome in CHANGE_CODES.items()},
    "top_up": {outcome.name: code for code, outcome in TOP_UP_CODES.items()},
    "restore": {outcome.name: code for code, outcome in RESTORE_CODES.items()},
    "check_life": {standing.name: code for code, standing in CHECK_CODES.items()},
    "begin_life": {outcome.name: code for code, outcome in BEGIN_CODES.items()},
    "fence_sale": {outcome.name: code for code, outcome in FENCE_CODES.items()},
    "give_up": {outcome.name: code for code, outcome in GIVE_UP_CODES.items()},
    "mark": {outcome.name: code for code, outcome in MARK_CODES.items()},
}


def header(name: str) -> str:
    source = load_script(name).source
    return source[: re.search(r"^(?!--)", source, re.MULTILINE).start()]


def code(name: str) -> str:
    source = load_script(name).source[len(header(name)) :]
    return "\n".join(line.split(" --")[0] for line in source.splitlines())


def known_templates() -> dict[str, str]:
    sale_id = uuid.UUID(int=0)
    sale = keys.sale_keys(0, sale_id)
    names = {field.name: getattr(sale, field.name) for field in fields(sale)}
    names |= {name: getattr(keys, name)(0) for name in ("intents", "life", "sales")}
    return {
        name: key.replace("{s0}", "{sN}").replace(str(sale_id), "<sale_id>")
        for name, key in names.items()
    }


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_part_of_the_contract_is_there(name: str) -> None:
    text = header(name)
    assert text.startswith(f"-- {name}.lua\n")
    for part in ("Purpose", "Returns", "Writes", "Invariant", "Complexity"):
        assert re.search(rf"^-- {part}: ", text, re.MULTILINE), f"{name} does not say its {part}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_keys_are_the_ones_of_keys_py_and_all_are_used(name: str) -> None:
    declared = re.findall(r"^-- KEYS\[(\d+)\] (\w+) +(\S+) +(hash|set|stream)$", header(name), re.M)
    assert [int(number) for number, *_ in declared] == list(range(1, len(declared) + 1))
    templates = known_templates()
    for _, key_name, template, _ in declared:
        assert templates[key_name] == template
    used = {int(number) for number in re.findall(r"KEYS\[(\d+)\]", code(name))}
    if "for i = 2, #KEYS" in code(name):  # open_sale frees a whole generation
        used |= set(range(2, len(declared) + 1))
    assert used == set(range(1, len(declared) + 1)), f"{name}: keys declared and used differ"


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_builds_a_key(name: str) -> None:
    calls = code(name).replace("redis.call('INFO', 'server')", "")  # of the server, not of a key
    first_arguments = re.findall(r"redis\.call\('[A-Z]+', *(?:'[A-Z]+', *)?([^,)]+)", calls)
    for argument in first_arguments:
        assert re.fullmatch(r"\w+_key|KEYS\[\w+\]", argument.strip()), argument


@pytest.mark.parametrize("name", SCRIPTS)
def test_arguments_are_declared_in_order_and_read(name: str) -> None:
    text = header(name)
    fixed = [int(number) for number in re.findall(r"^-- ARGV\[(\d+)\] ", text, re.M)]
    assert fixed == list(range(1, len(fixed) + 1))
    repeated = re.findall(r"^-- ARGV\[(\d+)\+(\d+)i\] ", text, re.M)
    if repeated:
        strides = {int(stride) for _, stride in repeated}
        assert strides == {len(repeated)}
        first = len(fixed) + 1
        assert [int(start) for start, _ in repeated] == list(range(first, first + len(repeated)))
        assert f"STRIDE, FIRST = {len(repeated)}, {first}" in code(name)
    read = {int(number) for number in re.findall(r"ARGV\[(\d+)\]", code(name))}
    assert read == set(fixed), f"{name}: arguments declared and read differ"


@pytest.mark.parametrize("name", sorted(CODES))
def test_codes_are_those_of_the_enum(name: str) -> None:
    returns = header(name).split("-- Returns: ")[1].split("-- Writes: ")[0]
    declared = {
        word: int(number) for number, word in re.findall(r"^-- +(\d+) ([A-Z_]+)\b", returns, re.M)
    }
    assert declared == CODES[name]


def test_every_script_has_a_check_of_its_codes() -> None:
    # These return readings and a count.
    assert set(SCRIPTS) - set(CODES) == {"snapshot", "sold_out", "forget_consumers"}


def test_a_code_of_both_scripts_that_decide_is_one() -> None:
    both = HonourCode.__members__.keys() & ReserveCode.__members__.keys()
    assert len(both) >= 8
    assert [HonourCode[name].value for name in both] == [ReserveCode[name].value for name in both]


def test_a_purchase_has_the_stride_of_the_script() -> None:
    purchase = Purchase(uuid.uuid4(), 1, b"t" * 10, b"p" * 6, b"f" * 8, b"b" * 16, "SKU", 1)
    who, wish = purchase.arguments()
    assert "STRIDE, FIRST = 2, 3" in code("reserve")
    assert (len(who), wish) == (40, "1:SKU")
    assert len(structs.replace(purchase, address_id=b"a" * 16).arguments()[0]) == 56
