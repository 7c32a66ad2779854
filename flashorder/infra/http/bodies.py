"""Reading what a request brings: the body within its bounds, body and query into their types."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import StreamReader, hdrs, web
from aiohttp.streams import EMPTY_PAYLOAD

from flashorder.infra.http.problems import RequestTimeout
from flashorder.kernel.errors import (
    FieldError,
    InvalidInput,
    MalformedRequest,
    NotFound,
    PayloadTooLarge,
    UnsupportedMediaType,
)

PATH_VALUE_CHARACTERS_MAX: Final = 256
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding JSON of somebody else's may raise: msgspec lets the last two through."""
_AT = re.compile(r"(?s)(.*?)(?: - at `(.*)`)?")
_NAMED = re.compile(r"Object (contains unknown|missing required) field `(.*)`")
# msgspec would also take 1e2 for a number, and a number for a time.
_SPELLINGS: Final = {
    msgspec.inspect.IntType: re.compile(r"-?\d{1,19}", re.ASCII),
    msgspec.inspect.DateTimeType: re.compile(r"\d{4}-.*", re.ASCII),
}
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


class ClientGone(ConnectionError):
    """The client left in the middle of its request: there is nobody to answer."""


def read_ready(content: StreamReader, bytes_max: int) -> bytes | None:
    """The whole body if it has arrived, as nearly always: no timer, no waiting; else None.

    Raises what ``read_body`` raises.
    """
    if not content.is_eof():
        return None
    if content is EMPTY_PAYLOAD:
        return b""
    pieces = content._buffer
    try:
        # Usually it came in one piece, and is no use to anybody afterwards: reading it in order
        # would go through four functions. tests/infra/http/test_bodies.py tells if this changes.
        if len(pieces) == 1 and not content._buffer_offset and content._exception is None:
            body = pieces[0]
        else:
            body = content.read_nowait()
    except ConnectionError as error:
        raise ClientGone from error
    except web.RequestPayloadError as error:
        raise MalformedRequest("The body could not be read.") from error
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    return body


async def read_body(request: web.Request, bytes_max: int, timeout_seconds: float) -> bytes:
    """The whole body. ``PayloadTooLarge``, ``RequestTimeout``, ``MalformedRequest``, ClientGone."""
    body = read_ready(request.content, bytes_max)
    if body is not None:
        return body
    try:
        return await _read_slowly(request, bytes_max, timeout_seconds)
    except ConnectionError as error:
        raise ClientGone from error
    except web.RequestPayloadError as error:
        raise MalformedRequest("The body could not be read.") from error


async def _read_slowly(request: web.Request, bytes_max: int, timeout_seconds: float) -> bytes:
    length = request.content_length
    if length is not None and length > bytes_max:
        raise _too_large(bytes_max)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_seconds):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > bytes_max:
                    raise _too_large(bytes_max)
    except TimeoutError:
        raise RequestTimeout(f"The body did not arrive within {timeout_seconds:g} s.") from None
    return bytes(body)


def check_media_type(headers: Mapping[str, str], expected: str) -> None:
    """``UnsupportedMediaType`` unless the body is ``expected``, in UTF-8 and uncompressed."""
    given = headers.get(hdrs.CONTENT_TYPE, "")
    if expected not in (given, "*/*"):
        essence, _, parameters = given.partition(";")
        charset = parameters.replace(" ", "").replace('"', "").lower()
        if essence.strip().lower() != expected or charset not in ("", "charset=utf-8"):
            raise UnsupportedMediaType(f"The body must be {expected}.")
    if hdrs.CONTENT_ENCODING in headers:
        raise UnsupportedMediaType("The body must not be compressed.")


def body_decoder(type_: Any) -> Callable[[bytes], Any]:
    """Decodes JSON into ``type_``; ``MalformedRequest``, or ``InvalidInput`` with pointers."""
    decode = msgspec.json.Decoder(type_).decode

    def decode_body(body: bytes) -> Any:
        try:
            decoded = decode(body)
        except msgspec.ValidationError as error:
            raise invalid_input(error) from None
        except UNREADABLE as error:
            raise MalformedRequest(f"The body is not valid JSON: {error}") from None
        if b"\\" in body and b"\\u0000" in body:  # the first alone is a quick search
            _refuse_nul("body", msgspec.json.decode(body), "")
        return decoded

    return decode_body


def query_decoder(type_: Any) -> Callable[[web.Request], Any]:
    """Decodes the query string into ``type_``: texts become numbers and so on as its fields say.

    A number is digits, a time RFC 3339.
    """
    lists = {
        field.encode_name
        for field in msgspec.structs.fields(type_)
        if isinstance(msgspec.inspect.type_info(field.type), msgspec.inspect.ListType)
    }
    spellings = {
        field.encode_name: _SPELLINGS[kind]
        for field in msgspec.structs.fields(type_)
        if (kind := _kind_of(msgspec.inspect.type_info(field.type))) in _SPELLINGS
    }
    default = _default_of(type_)

    def decode_query(request: web.Request) -> Any:
        given = request.rel_url.query
        if not given and default is not None:
            return default
        values: dict[str, Any] = {}
        for name in given:
            every = given.getall(name)
            if len(every) > 1 and name not in lists:
                raise _refused("query", name, "repeated_field", "given more than once")
            values[name] = every if name in lists else every[0]
            if (spelling := spellings.get(name)) and not spelling.fullmatch(every[0]):
                raise _refused("query", name, "invalid_value", "is not written like this")
        _refuse_nul("query", values, "")
        try:
            return msgspec.convert(values, type_, strict=False)
        except msgspec.ValidationError as error:
            raise invalid_input(error) from None

    return decode_query


def check_path(path: Mapping[str, str]) -> None:
    """``NotFound`` for values that nothing can be called: too long, or with a NUL in them."""
    for value in path.values():
        if len(value) > PATH_VALUE_CHARACTERS_MAX or not value.isprintable():
            raise NotFound


def may_be_empty(type_: Any) -> bool:
    """Whether no body at all means ``{}``: every field has a default."""
    return _default_of(type_) is not None


def invalid_input(error: msgspec.ValidationError) -> InvalidInput:
    """msgspec's refusal as a failure that points at the field (RFC 6901)."""
    match = _AT.fullmatch(str(error))
    assert match is not None, "the pattern matches any text"
    detail, place = match[1], match[2] or "$"
    pointer = "".join(f"/{_escaped(name or index)}" for name, index in _STEP.findall(place))
    code = "invalid_value"
    if named := _NAMED.fullmatch(detail):
        code = "unknown_field" if named[1] == "contains unknown" else "missing_field"
        pointer += f"/{_escaped(named[2])}"
    return InvalidInput(detail, fields=(FieldError(pointer, code, detail),))


def _default_of(type_: Any) -> Any:
    try:
        return msgspec.convert({}, type_)
    except msgspec.ValidationError:
        return None


def _kind_of(type_: msgspec.inspect.Type) -> type[msgspec.inspect.Type]:
    """What a value is, where it is given at all."""
    if isinstance(type_, msgspec.inspect.UnionType):
        given = [each for each in type_.types if not isinstance(each, msgspec.inspect.NoneType)]
        return type(given[0]) if len(given) == 1 else msgspec.inspect.UnionType
    return type(type_)


def _refuse_nul(where: str, value: Any, pointer: str) -> None:
    """PostgreSQL keeps no NUL in a text, so none comes in."""
    if isinstance(value, str):
        if "\0" in value:
            raise _refused(where, pointer.removeprefix("/"), "invalid_value", "contains a NUL")
    elif isinstance(value, dict):
        for name, each in value.items():
            _refuse_nul(where, name, pointer)
            _refuse_nul(where, each, f"{pointer}/{_escaped(name)}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            _refuse_nul(where, each, f"{pointer}/{index}")


def _refused(where: str, name: str, code: str, detail: str) -> InvalidInput:
    return InvalidInput(f"{where} {name}: {detail}", fields=(FieldError(f"/{name}", code, detail),))


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _too_large(bytes_max: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {bytes_max} bytes.")
