"""ETags of what can be edited, and If-Match (RFC 9110, sections 8.8.3 and 13.1.1).

A thing's ETag is its version in quotes. An edit that names one is refused with 412 when the thing
has moved on; an edit that names none is applied to whatever is there.
"""

from __future__ import annotations

import re

from flashorder.infra.http.endpoint import Call
from flashorder.kernel.errors import PreconditionFailed

_VERSION = re.compile(r'"(\d{1,9})"')


def etag(version: int) -> dict[str, str]:
    """The header that tells the version of what was answered."""
    return {"ETag": f'"{version}"'}


def expected_version(call: Call) -> int | None:
    """The version that If-Match names; None where any will do.

    Raises ``PreconditionFailed`` for a tag that no thing of ours ever had.
    """
    given = call.request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return None
    match = _VERSION.fullmatch(given.strip())
    if match is None:
        raise PreconditionFailed("If-Match must be the ETag of what was read.")
    return int(match[1])
