"""The OpenAPI document held against what an application really answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

# What every answer says, or HTTP itself.
EVERYWHERE = frozenset(
    {"content-type", "content-length", "date", "connection", "transfer-encoding",
     "x-content-type-options", "cache-control"}
)  # fmt: skip


class Contract:
    """A document; ``seen`` is what was checked against it: (method, template, status)."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._headers = document["components"]["headers"]
        self._paths = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))), template, methods)
            # A template without parameters is the nearer one.
            for template, methods in sorted(
                document["paths"].items(), key=lambda each: "{" in each[0]
            )
        ]
        self.seen: set[tuple[str, str, int]] = set()

    def check(
        self, method: str, url: str, status: int, headers: Mapping[str, str], body: Any
    ) -> None:
        """Fail unless the document has this status, code, media type and every header.

        ``body`` is decoded where it is JSON. What no operation answers has no place in a document.
        """
        template, operation = self._operation(method, url.partition("?")[0])
        if operation is None:
            assert status in (404, 405), f"{method} {url} is not in the document"
            return
        where = f"{method} {template} {status}"
        self.seen.add((method, template, status))
        response = operation["responses"].get(str(status))
        assert response is not None, f"{where} is not in the document: {body}"
        media_type = headers.get("Content-Type")
        assert media_type in (response.get("content") or {None: ()}), f"{where}: {media_type}"
        if status >= 400:
            assert body["code"] in response["x-problem-codes"], f"{where}: {body['code']}"
        self._check_headers(where, response.get("headers", {}), headers)

    def _check_headers(
        self, where: str, documented: Collection[str], headers: Mapping[str, str]
    ) -> None:
        known = EVERYWHERE | {name.lower() for name in documented}
        unknown = [name for name in headers if name.lower() not in known]
        assert not unknown, f"{where}: {unknown} are not in the document"
        missing = [
            name for name in documented if self._headers[name]["required"] and name not in headers
        ]
        assert not missing, f"{where}: {missing} are missing"

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, Any] | None]:
        for pattern, template, methods in self._paths:
            if pattern.fullmatch(path) and method.lower() in methods:
                return template, methods[method.lower()]
        return "", None
