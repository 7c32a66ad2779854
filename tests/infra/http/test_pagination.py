"""Cursors and pages."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashorder.infra.http.endpoint import Call, Endpoint, Page, Reply
from flashorder.infra.http.pagination import PageQuery, page_reply, read_cursor, write_cursor
from flashorder.kernel.errors import InvalidInput
from tests.infra.http.serving import served


@given(
    st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1)),  # noqa: DTZ001
    st.uuids(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)
def test_a_cursor_brings_back_its_key(
    moment: datetime, identifier: uuid.UUID, number: int, text: str
) -> None:
    key = (moment, identifier, number, text)
    assert read_cursor(write_cursor(key), (datetime, uuid.UUID, int, str)) == key


def test_no_cursor_is_the_beginning() -> None:
    assert read_cursor(None, (int,)) is None


@given(st.text(max_size=60))
def test_anything_else_is_refused_or_a_key_of_the_right_shape(text: str) -> None:
    with suppress(InvalidInput):
        key = read_cursor(text, (uuid.UUID,))
        assert key is not None
        assert isinstance(key[0], uuid.UUID)


@pytest.mark.parametrize("key", [[1], ["x"], [str(uuid.uuid4()), 1], [None], [["nested"]]])
def test_a_cursor_of_another_list_is_refused(key: list[Any]) -> None:
    with pytest.raises(InvalidInput):
        read_cursor(write_cursor(key), (uuid.UUID,))


def test_a_nul_in_a_cursor_is_refused() -> None:
    with pytest.raises(InvalidInput):
        read_cursor(write_cursor(["\0"]), (str,))


class Numbers(PageQuery, forbid_unknown_fields=True):
    prefix: str = ""


async def numbers(call: Call) -> Reply:
    after = read_cursor(call.query.cursor, (int,))
    begin = after[0] + 1 if after else 0
    found = list(range(begin, min(25, begin + call.query.limit + 1)))
    return page_reply(call, found, key=lambda number: [number], show=lambda n: f"n{n}")


async def test_following_the_link_sees_everything_once_and_keeps_the_query() -> None:
    endpoint = Endpoint("GET", "/n", numbers, "s", "t", query=Numbers, replies={200: Page})
    async with served([endpoint]) as site:
        path: str | None = "/n?limit=10&prefix=a%20%26%3Eb"
        seen: list[str] = []
        while path:
            async with site.client.get(path) as answer:
                body = await answer.json()
                seen += body["items"]
                assert ("next" in answer.links) == (body["next_cursor"] is not None)
                path = None
                if "next" in answer.links:
                    url = answer.links["next"]["url"]
                    assert url.query["prefix"] == "a &>b"
                    assert url.query["limit"] == "10"
                    path = str(url.relative()) if url.is_absolute() else str(url)
        assert seen == [f"n{number}" for number in range(25)]
        for wrong in (
            "/n?limit=0",
            "/n?limit=201",
            "/n?limit=x",
            "/n?cursor=%00",
            "/n?limit=1&limit=2",
        ):
            async with site.client.get(wrong) as answer:
                assert answer.status == 422, wrong
