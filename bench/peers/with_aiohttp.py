"""aiohttp + redis-py: one EVALSHA a request. Environment: PORT, STORE_URL."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import uvloop
from aiohttp import web

from bench.peers.script import SaleScript

SCRIPT: web.AppKey[SaleScript] = web.AppKey("script", SaleScript)


async def buy(request: web.Request) -> web.Response:
    """One purchase."""
    body = await request.json()
    sku, quantity = body["sku"], body["quantity"]
    headers = request.headers
    code, detail = await request.app[SCRIPT].buy(
        headers["Idempotency-Key"], headers["X-Buyer"], sku, quantity
    )
    if code > 2:
        return web.json_response({"code": "refused", "reason": code}, status=409)
    answer = {"order_id": detail.decode(), "sku": sku, "quantity": quantity, "status": "accepted"}
    return web.json_response(answer, status=202)


async def _script(app: web.Application) -> AsyncIterator[None]:
    async with SaleScript.opened(os.environ["STORE_URL"]) as script:
        app[SCRIPT] = script
        yield


def main() -> None:
    """Serve until SIGTERM."""
    app = web.Application()
    app.router.add_post("/orders", buy)
    app.cleanup_ctx.append(_script)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=None,
        backlog=4096,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
