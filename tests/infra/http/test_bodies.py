"""Reading bodies and queries into their types, and pointing at what is wrong with them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from flashorder.infra.http.bodies import (
    body_decoder,
    check_media_type,
    check_path,
    query_decoder,
    read_ready,
)
from flashorder.kernel.errors import (
    InvalidInput,
    MalformedRequest,
    NotFound,
    PayloadTooLarge,
    UnsupportedMediaType,
)


class Line(msgspec.Struct, forbid_unknown_fields=True):
    sku: str
    quantity: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1


class Cart(msgspec.Struct, forbid_unknown_fields=True):
    lines: list[Line]
    labels: dict[str, str] = {}


decode = body_decoder(Cart)


async def test_a_body_is_read_in_however_many_pieces_it_came() -> None:
    """Through aiohttp's reader, and past it where it came in one piece."""
    loop = asyncio.get_running_loop()

    def arrived(*pieces: bytes) -> StreamReader:
        reader = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
        for piece in pieces:
            reader.feed_data(piece)
        return reader

    assert read_ready(arrived(b"whole"), 10) is None  # there may be more
    for pieces in ((b"whole",), (b"wh", b"ole"), (b"w", b"ho", b"le")):
        reader = arrived(*pieces)
        reader.feed_eof()
        assert read_ready(reader, 5) == b"whole"
    assert read_ready(EMPTY_PAYLOAD, 5) == b""
    empty = arrived()
    empty.feed_eof()
    assert read_ready(empty, 5) == b""
    begun = arrived(b"not", b"whole")
    assert await begun.read(2) == b"no"
    begun.feed_eof()
    assert read_ready(begun, 10) == b"twhole"
    for too_long in ((b"123456",), (b"123", b"456")):
        reader = arrived(*too_long)
        reader.feed_eof()
        with pytest.raises(PayloadTooLarge):
            read_ready(reader, 5)
    broken = arrived(b"half")
    broken.feed_eof()
    broken.set_exception(web.RequestPayloadError("cut off"))
    with pytest.raises(MalformedRequest):
        read_ready(broken, 10)


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ('{"lines":[{"sku":"a","quantity":0}]}', "/lines/0/quantity", "invalid_value"),
        ('{"lines":[{"sku":"a","quantity":-1}]}', "/lines/0/quantity", "invalid_value"),
        ('{"lines":[{"sku":"a","quantity":1.5}]}', "/lines/0/quantity", "invalid_value"),
        ('{"lines":[{"sku":"a","quantity":"1"}]}', "/lines/0/quantity", "invalid_value"),
        ('{"lines":[{"sku":"a","quantity":1000000000}]}', "/lines/0/quantity", "invalid_value"),
        ('{"lines":[{"sku":"a","quantity":1e999}]}', "/lines/0/quantity", "invalid_value"),
        ('{"lines":[{"sku":"a"},{"sku":"b","x":1}]}', "/lines/1/x", "unknown_field"),
        ('{"lines":[{}]}', "/lines/0/sku", "missing_field"),
        ("{}", "/lines", "missing_field"),
        ('{"lines":[],"a/b~c":1}', "/a~1b~0c", "unknown_field"),
        ("[]", "", "invalid_value"),
        ("null", "", "invalid_value"),
        ('{"lines":[{"sku":"a\\u0000"}]}', "/lines/0/sku", "invalid_value"),
        ('{"lines":[],"labels":{"x":"\\u0000"}}', "/labels/x", "invalid_value"),
    ],
)
def test_what_is_refused_is_pointed_at(body: str, pointer: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        decode(body.encode())
    assert [(each.pointer, each.code) for each in refusal.value.fields] == [(pointer, code)]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{'lines':[]}", b"\xff", b'{"lines":[],}', b'{"lines":[{"sku":"\\ud800"}]}',
     b"NaN", b'{"labels":' * 5000, b"\xef\xbb\xbf{}", b'{"lines":[{"sku":"\xff"}]}'],
)  # fmt: skip
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises((MalformedRequest, InvalidInput)):
        decode(body)


def test_a_backslash_before_u0000_is_just_text() -> None:
    assert decode(b'{"lines":[{"sku":"\\\\u0000"}]}').lines[0].sku == "\\u0000"


@given(st.binary(max_size=200))
def test_no_body_is_anything_but_read_or_refused(body: bytes) -> None:
    with suppress(InvalidInput, MalformedRequest):
        assert isinstance(decode(body), Cart)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_no_json_is_anything_but_read_or_refused(value: Any) -> None:
    with suppress(InvalidInput, MalformedRequest):
        assert isinstance(decode(msgspec.json.encode(value)), Cart)


@pytest.mark.parametrize(
    "given_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'],
)
def test_json_by_any_of_its_spellings(given_type: str) -> None:
    check_media_type({"Content-Type": given_type}, "application/json")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_any_other_type_is_unsupported(headers: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMediaType):
        check_media_type(headers, "application/json")


@pytest.mark.parametrize("value", ["\0", "a\0b", "x" * 257, "a\nb", "\ud800"])
def test_a_path_value_that_nothing_is_called(value: str) -> None:
    with pytest.raises(NotFound):
        check_path({"sku": value})


@pytest.mark.parametrize("value", ["a b", "{a}", "ä", "x" * 256, "a/b"])
def test_odd_path_values_are_for_the_rooms_to_judge(value: str) -> None:
    check_path({"sku": value})


class Search(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    after: datetime | None = None
    word: str | None = None
    sku: list[str] = []


search = query_decoder(Search)


def asked(query: str) -> Any:
    return search(make_mocked_request("GET", f"/?{query}"))


def test_a_query_is_read_as_its_fields_say() -> None:
    found = asked("limit=20&after=2026-01-02T03:04:05Z&word=1e2&sku=1&sku=2")
    assert found == Search(20, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "1e2", ["1", "2"])


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=1e2", "/limit"), ("limit=1.0", "/limit"), ("limit=+1", "/limit"),
        ("limit=%201", "/limit"), ("limit=1_0", "/limit"), ("limit=٣", "/limit"),
        ("limit=201", "/limit"), ("limit=", "/limit"), ("limit=1&limit=2", "/limit"),
        ("after=0.5", "/after"), ("after=1700000000", "/after"), ("after=-1", "/after"),
        ("after=2026-01-02", "/after"), ("other=1", "/other"), ("word=a%00", "/word"),
    ],
)  # fmt: skip
def test_what_a_query_cannot_say_is_pointed_at(query: str, pointer: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        asked(query)
    assert [each.pointer for each in refusal.value.fields] == [pointer]
    assert "body" not in refusal.value.detail
