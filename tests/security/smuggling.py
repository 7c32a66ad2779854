"""Requests that two servers might read in two ways, and the one way in which they are read here.

Collected from the published families (CL.TE, TE.CL, TE.TE, CL.0, h2c, chunk extensions, bare line
ends, obsolete folding) and from what RFC 9110 and 9112 leave to a recipient. A chunked request is
the last of its connection here; infra/http/framing.py says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

CHUNKED = b"Transfer-Encoding: chunked"
MANY_ZEROS = b"0" * 1000


class Reading(Enum):
    """What is to become of a case, and of the purchase that lies behind or within it."""

    REFUSED = auto()
    """400, and closed: nothing of it runs."""
    ANSWERED = auto()
    """It ends where RFC 9112 says; what lies behind it is the next request, and runs."""
    WITHIN = auto()
    """The purchase is content of it: it does not run, and the connection goes on."""
    THE_LAST = auto()
    """It is answered, and the connection closed: what lies behind it does not run."""


@dataclass(frozen=True)
class Framing:
    """How the content of a request is delimited: head lines, and what follows the head."""

    name: str
    lines: tuple[bytes, ...]
    content: bytes
    reading: Reading = Reading.REFUSED


@dataclass(frozen=True)
class Whole:
    """A request as it goes over the wire, with what it is answered, where it is not refused."""

    name: str
    request: bytes
    reading: Reading = Reading.REFUSED
    status: int = 400


def length(size: int) -> bytes:
    """The header line of a content of ``size`` bytes."""
    return b"Content-Length: %d" % size


def chunk(data: bytes, size: bytes | None = None) -> bytes:
    """One chunk, whose size line may say something else."""
    return (b"%x" % len(data) if size is None else size) + b"\r\n" + data + b"\r\n"


def in_chunks(data: bytes, size: bytes | None = None) -> bytes:
    """``data`` as one chunk, and the last one."""
    return chunk(data, size) + b"0\r\n\r\n"


def framings(body: bytes, hidden: bytes) -> Iterator[Framing]:
    """Every framing of ``body``; ``hidden`` is the purchase that must not run unless it may."""
    yield from _two_lengths(body, hidden)
    yield from _codings(body, hidden)
    yield from _lengths(body)
    yield from _chunks(body, hidden)
    yield from _lines(body)


def _two_lengths(body: bytes, hidden: bytes) -> Iterator[Framing]:
    """Content-Length beside Transfer-Encoding, and either of them twice."""
    own = length(len(body))
    zero_and_hidden = b"0\r\n\r\n" + hidden
    yield Framing("CL.TE", (length(len(zero_and_hidden)), CHUNKED), zero_and_hidden)
    yield Framing("TE.CL", (CHUNKED, length(4)), in_chunks(hidden))
    yield Framing("CL.TE, both right", (own, CHUNKED), in_chunks(body))
    yield Framing("CL of 0 beside TE", (length(0), CHUNKED), in_chunks(body))
    yield Framing("TE twice", (CHUNKED, CHUNKED), in_chunks(body))
    yield Framing("TE chunked and identity", (CHUNKED, b"Transfer-Encoding: identity"), body)
    yield Framing("TE identity and chunked", (b"Transfer-Encoding: identity", CHUNKED), body)
    yield Framing("CL twice, the same", (own, own), body)
    yield Framing("CL twice, the longer first", (length(len(body) + 9), own), body)
    yield Framing("CL twice, the longer last", (own, length(len(body) + len(hidden))), body)
    yield Framing("CL twice in a line", (own + b", %d" % len(body),), body)
    yield Framing("CL in a list", (b"Content-Length: 0, %d" % len(body),), body)
    yield Framing("CL as another case", (own, b"content-length: 0"), body)


def _codings(body: bytes, hidden: bytes) -> Iterator[Framing]:
    """TE.TE: codings that one server knows and the other does not."""
    own = length(len(body))
    for name, line in {
        "identity": b"Transfer-Encoding: identity",
        "unknown": b"Transfer-Encoding: xchunked",
        "not last": b"Transfer-Encoding: chunked, identity",
        "compressed": b"Transfer-Encoding: gzip, chunked",
        "list with nothing in it": b"Transfer-Encoding: , chunked",
        "parameter": b"Transfer-Encoding: chunked;q=1",
        "quoted": b'Transfer-Encoding: "chunked"',
        "in brackets": b"Transfer-Encoding: (chunked)",
        "vertical tab": b"Transfer-Encoding:\x0bchunked",
        "form feed": b"Transfer-Encoding: chunked\x0c",
        "NUL": b"Transfer-Encoding: chunked\x00",
        "newline": b"Transfer-Encoding: chunked\n",
        "carriage return": b"Transfer-Encoding: chunked\r",
        "folded": b"Transfer-Encoding:\r\n chunked",
        "folded with a tab": b"Transfer-Encoding:\r\n\tchunked",
        "space before the colon": b"Transfer-Encoding : chunked",
        "tab before the colon": b"Transfer-Encoding\t: chunked",
        "space before the name": b" Transfer-Encoding: chunked",
        "name on two lines": b"Transfer-\r\nEncoding: chunked",
        "behind a bare newline": b"X: y\nTransfer-Encoding: chunked",
        "behind a bare carriage return": b"X: y\rTransfer-Encoding: chunked",
        "no-break space": b"Transfer-Encoding: \xa0chunked",
        "high bit": b"Transfer-Encoding: \xe3hunked",
        "two": b"Transfer-Encoding: chunked, chunked",
    }.items():
        yield Framing(f"TE {name}, in chunks", (line,), in_chunks(hidden))
        yield Framing(f"TE {name}, and a length", (own, line), body)
    yield Framing("TE empty, and a length", (own, b"Transfer-Encoding: "), body)
    yield Framing("TE empty, in chunks", (b"Transfer-Encoding: ",), in_chunks(body))
    for name, line in {
        "plain": CHUNKED,
        "in capitals": b"TRANSFER-ENCODING: CHUNKED",
        "after a tab": b"Transfer-Encoding:\tchunked",
        "without a space": b"Transfer-Encoding:chunked",
    }.items():
        yield Framing(f"TE {name}", (line,), in_chunks(body), Reading.THE_LAST)
    # Other names are other headers.
    for line in (b"Transfer_Encoding: chunked", b"X-Transfer-Encoding: chunked", b"TE: chunked"):
        yield Framing(line.decode(), (own, line), body, Reading.ANSWERED)


def _lengths(body: bytes) -> Iterator[Framing]:
    """Numbers that are read differently, or not at all."""
    size = len(body)
    for name, value in {
        "+": b"+%d" % size,
        "-": b"-%d" % size,
        "-0": b"-0",
        "hexadecimal": b"0x%x" % size,
        "bare hexadecimal": b"%xf" % size,
        "octal": b"0o%o" % size,
        "underscore": b"3_0",
        "space within": b"3 0",
        "fraction": b"%d.0" % size,
        "exponent": b"3e1",
        "empty": b"",
        "quoted": b'"%d"' % size,
        "2**64": b"18446744073709551616",
        "2**64 + size": b"%d" % (2**64 + size),
        "a hundred digits": b"9" * 100,
        "NUL": b"%d\x00" % size,
        "other digits": "٣٣".encode(),
        "comma": b"%d," % size,
        "semicolon": b"%d;x" % size,
    }.items():
        yield Framing(f"CL {name}", (b"Content-Length: " + value,), body)
    for line in (
        b"Content-Length : %d",
        b"Content-Length\t: %d",
        b" Content-Length: %d",
        b"Content-Length:\r\n %d",
        b"Content-Length: %d\x0b",
        b"Content-Length: %d\r",
        b"Content-Length: %d\nX: y",
        b"X: y\nContent-Length: %d",
        b"X: y\rContent-Length: %d",
    ):
        yield Framing(repr(line), (line % size,), body)
    for line in (b"Content-Length: 000%d", b"Content-Length: %d \t", b"content-LENGTH:%d"):
        yield Framing(repr(line), (line % size,), body, Reading.ANSWERED)


def _chunks(body: bytes, hidden: bytes) -> Iterator[Framing]:
    """Chunk sizes, extensions, line ends and trailers."""
    size = b"%x" % len(body)
    for name, line in {
        "0x": b"0x" + size,
        "+": b"+" + size,
        "-": b"-" + size,
        "space before": b" " + size,
        "space after": size + b" ",
        "tab after": size + b"\t",
        "underscore": size + b"_",
        "too large for a number": b"f" * 17,
        "2**64 + size": b"1%016x" % len(body),
        "empty": b"",
        "letters": b"zz",
        "NUL": size + b"\x00",
        "extension with a newline": size + b";a\nb",
        "extension with a carriage return": size + b";a\rb",
        "extension that hides": size + b";\n" + hidden,
        "one less": b"%x" % (len(body) - 1),
        "one more": b"%x" % (len(body) + 1),
    }.items():
        yield Framing(f"chunk size {name}", (CHUNKED,), in_chunks(body, line))
    for name, line in {
        "in capitals": size.upper(),
        "after zeros": MANY_ZEROS + size,
        "extension": size + b";a=b",
        "extension without a value": size + b";a",
    }.items():
        yield Framing(f"chunk size {name}", (CHUNKED,), in_chunks(body, line), Reading.THE_LAST)
    wrong = {
        "chunk with bare newlines": b"%s\n%s\n0\n\n" % (size, body),
        "chunk size ended by a newline": b"%s\n%s\r\n0\r\n\r\n" % (size, body),
        "chunk without an end": b"%s\r\n%s0\r\n\r\n" % (size, body),
        "chunk ended by something else": b"%s\r\n%sXX0\r\n\r\n" % (size, body),
        "chunk ended by a newline": b"%s\r\n%s\n0\r\n\r\n" % (size, body),
        "last chunk ended by newlines": chunk(body) + b"0\n\n",
        "trailers ended by a newline": chunk(body) + b"0\r\n\n",
        "last chunk of -0": chunk(body) + b"-0\r\n\r\n",
        "trailer with a length": chunk(body) + b"0\r\nContent-Length: 50\r\n\r\n",
        "trailer with a coding": chunk(body) + b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "trailer without a colon": chunk(body) + b"0\r\nX\r\n\r\n",
        "trailer folded": chunk(body) + b"0\r\nX: y\r\n z\r\n\r\n",
    }
    for name, content in wrong.items():
        yield Framing(name, (CHUNKED,), content)
    right = {
        "last chunk of zeros": chunk(body) + MANY_ZEROS + b"\r\n\r\n",
        "trailer": chunk(body) + b"0\r\nX: y\r\n\r\n",
        "chunks of a byte": b"".join(chunk(bytes([each])) for each in body) + b"0\r\n\r\n",
    }
    for name, content in right.items():
        yield Framing(name, (CHUNKED,), content, Reading.THE_LAST)
    # aiohttp's parser would have the last one be a header of the request behind.
    for trailer in (b"Authorization: Bearer x", b"Idempotency-Key: other", b"X-Forwarded-For: x"):
        content = chunk(body) + b"0\r\nX: y\r\n" + trailer + b"\r\n\r\n"
        yield Framing(f"trailer {trailer!r}", (CHUNKED,), content, Reading.THE_LAST)


def _lines(body: bytes) -> Iterator[Framing]:
    """Head lines that are none."""
    own = length(len(body))
    for line in (
        b"X: a\x00b",
        b"X\x00: y",
        b": y",
        b"X",
        b"X y: z",
        b"X[]: y",
        b"F\xc3\xb6\xc3\xb6: x",
        b"X: y\r\n z",
        b"X: y\r\n\tz",
        b"X: y\r\n \r\n z",
        b" X: y",
        b"X: y\n",
        b"X: y\nZ: z",
        b"X: y\rZ: z",
        b"X: y\r\r",
        b"Host: other",
        b"Content-Type: text/plain",
    ):
        yield Framing(f"line {line!r}", (line, own), body)
    for line in (b"X:", b"X: \t", b"X: \xff\xfe", b"X:y", b"Connection: Content-Length, Host"):
        yield Framing(f"line {line!r}", (line, own), body, Reading.ANSWERED)


def wholes(path: str, credentials: bytes, body: bytes, hidden: bytes) -> Iterator[Whole]:
    """Requests whose first line, or what they ask for, is odd; most are purchases."""
    tail = b"\r\n" + credentials + b"\r\n" + length(len(body)) + b"\r\n\r\n" + body
    target = path.encode()
    yield from _versions(target, tail)
    yield from _targets(target, tail)
    yield from _methods(target, tail)
    yield from _other_protocols(target, credentials, body)
    yield from _contents(target, credentials, hidden)
    yield from _repeated(target, credentials, body)


def _post(target: bytes) -> bytes:
    return b"POST " + target + b" HTTP/1.1"


def _versions(target: bytes, tail: bytes) -> Iterator[Whole]:
    for version in (
        b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.10", b"HTTP/2", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/1",
        b"HTTP/11", b"http/1.1", b"HTTP/1.1x", b"HTTP /1.1", b"HTTP/1.1 ", b"HTTP/1,1", b"ICE/1.0",
        b"RTSP/1.0", b"",
    ):  # fmt: skip
        yield Whole(f"version {version!r}", b"POST " + target + b" " + version + tail)
    yield Whole("HTTP/0.9, as it was", b"GET /v1/sales\r\n")
    yield Whole("a newline after the version", _post(target) + tail[1:])
    yield Whole("a space before the method", b" " + _post(target) + tail)
    yield Whole("a tab between", (_post(target) + tail).replace(b" ", b"\t", 1))
    for before in (b"\r\n", b"\r\n\r\n", b"\n"):  # RFC 9112, section 2.2
        yield Whole(f"{before!r} before", before + _post(target) + tail, Reading.ANSWERED, 202)


def _targets(target: bytes, tail: bytes) -> Iterator[Whole]:
    for odd in (
        target + b" x",
        target + b"\x00",
        target + b"\r",
        target + b"\n",
        target + b"\x7f",
        target + "é".encode(),
        target + b"#fragment",
        target.replace(b"/", b"\\"),
        target[1:],
        b"http:" + target,
        b"http://" + target,
        b"://shop.example" + target,
        b"shop.example:80",
        b"*",
        b"",
    ):
        yield Whole(f"target {odd!r}", _post(odd) + tail)
    for odd, status in {
        # Absolute form is taken by every server (RFC 9112, section 3.2.2).
        b"http://shop.example" + target: 202,
        b"http://other.example" + target: 202,
        b"HTTPS://shop.example:443" + target: 202,
        target + b"?x=y": 202,
        target + b"?": 202,
        target.replace(b"orders", b"%6Frders"): 202,
        # Whatever is another path is not this one.
        b"/" + target: 404,
        target + b"/": 404,
        target + b";x=y": 404,
        target.replace(b"/orders", b"//orders"): 404,
        target.replace(b"/orders", b"/./orders"): 404,
        target.replace(b"/v1", b"/v1/../v1"): 404,
        target.replace(b"/v1", b"/%2e%2e/v1"): 404,
        target.replace(b"/v1", b"/%2E%2E%2Fv1"): 404,
        target.replace(b"/orders", b"%5Corders"): 405,
        target.replace(b"/orders", b"%2Forders"): 405,
        target.replace(b"/orders", b"%252Forders"): 405,
        target.replace(b"/orders", b"%00/orders"): 404,
        target.replace(b"/orders", b"%0d%0aX:%20y/orders"): 404,
        target.upper(): 404,
    }.items():
        yield Whole(f"target {odd!r}", _post(odd) + tail, Reading.ANSWERED, status)


def _methods(target: bytes, tail: bytes) -> Iterator[Whole]:
    rest = b" " + target + b" HTTP/1.1" + tail
    for method in (b"post", b"P\x00ST", b"BUY", b"POST\x0b", b"POST:", b'"POST"', b"", b"PRI"):
        yield Whole(f"method {method!r}", method + rest)
    for method in (b"TRACE", b"PUT", b"PATCH", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PROPFIND"):
        yield Whole(f"method {method!r}", method + rest, Reading.ANSWERED, 405)
    for name in (b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override"):
        line = b"\r\n" + name + b": DELETE"
        yield Whole(f"{name!r}", _post(target) + line + tail, Reading.ANSWERED, 202)


def _other_protocols(target: bytes, credentials: bytes, body: bytes) -> Iterator[Whole]:
    """What would take the connection away from HTTP/1.1, were it taken up."""
    yield Whole("HTTP/2 without asking", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
    yield Whole("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32)
    own = length(len(body))
    for lines in (
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ"),
        (b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
        (b"Connection: upgrade", b"Upgrade: TLS/1.0, HTTP/1.1"),
        (b"Connection: upgrade", b"Upgrade: anything"),
    ):
        head = b"\r\n".join((_post(target), credentials, *lines, own))
        yield Whole(f"{lines[1]!r}", head + b"\r\n\r\n" + body, Reading.THE_LAST, 202)
        head = b"\r\n".join((b"GET /healthz HTTP/1.1", b"Host: x", *lines))
        yield Whole(f"{lines[1]!r}, no content", head + b"\r\n\r\n", Reading.THE_LAST, 200)
    head = b"CONNECT shop.example:80 HTTP/1.1\r\nHost: x\r\n\r\n"
    yield Whole("CONNECT", head, Reading.THE_LAST, 404)
    head = b"\r\n".join((_post(target), credentials, b"Connection: Upgrade", own))
    yield Whole("Upgrade to nothing", head + b"\r\n\r\n" + body, Reading.ANSWERED, 202)


def _contents(target: bytes, credentials: bytes, hidden: bytes) -> Iterator[Whole]:
    """A purchase as the content of something that reads none, or another (CL.0)."""
    own = length(len(hidden))
    for name, first, status in (
        ("GET", b"GET /v1/sales HTTP/1.1", 200),
        ("HEAD", b"HEAD /v1/sales HTTP/1.1", 200),
        ("GET, operations", b"GET /healthz HTTP/1.1", 200),
        ("unknown path", b"POST /v1/nothing HTTP/1.1", 404),
        ("unknown method", b"PUT /v1/sales HTTP/1.1", 405),
        ("OPTIONS", b"OPTIONS * HTTP/1.1", 404),
        ("purchase", _post(target), 400),
        ("without a token", b"DELETE /v1/tokens/current HTTP/1.1", 401),
        ("signing in", b"POST /v1/tokens HTTP/1.1", 400),
        ("webhook", b"POST /v1/webhooks/payments/simulator HTTP/1.1", 401),
    ):
        lines = credentials
        if status == 401:
            lines = b"Host: x\r\nContent-Type: application/json"
        for framing, content, reading in (
            (own, hidden, Reading.WITHIN),
            (CHUNKED, in_chunks(hidden), Reading.THE_LAST),
        ):
            head = first + b"\r\n" + lines + b"\r\n" + framing + b"\r\n\r\n"
            yield Whole(f"within {name}, {framing!r}", head + content, reading, status)


def _repeated(target: bytes, credentials: bytes, body: bytes) -> Iterator[Whole]:
    """Lines of which there is one: the other counts for whoever reads the other."""
    for line in (b"Idempotency-Key: other", b"Authorization: Bearer x", b"Host: other", length(0)):
        for query in (b"", b"?by=the-router"):
            first = _post(target + query) + b"\r\n"
            own = length(len(body)) + b"\r\n\r\n" + body
            parser_refuses = line.startswith((b"Host", b"Content-Length"))
            for head in (credentials + b"\r\n" + line, line + b"\r\n" + credentials):
                yield Whole(
                    f"{line!r} twice {query!r}",
                    first + head + b"\r\n" + own,
                    Reading.REFUSED if parser_refuses else Reading.ANSWERED,
                )
    for query in (b"", b"?by=the-router"):
        for expectation, status in ((b"200-ok", 417), (b"100-continue, 200-ok", 417)):
            head = b"\r\n".join(
                (_post(target + query), credentials, b"Expect: " + expectation, length(len(body)))
            )
            request = head + b"\r\n\r\n" + body
            yield Whole(f"Expect {expectation!r} {query!r}", request, Reading.ANSWERED, status)
