"""An aiohttp ``web.Application`` that reads the body and answers a constant.

Arguments: port, and how many processes share it (SO_REUSEPORT when more than one).
"""

from __future__ import annotations

import sys

import uvloop
from aiohttp import web

# As long as the answer to a purchase.
ANSWER = b'{"order_id":"%s","status":"accepted"}' % (b"0" * 280)


async def answer(request: web.Request) -> web.Response:
    """Read what was sent, say what is always said."""
    await request.read()
    return web.Response(body=ANSWER, status=202, content_type="application/json")


def main() -> None:
    """Serve until SIGTERM."""
    port, processes = int(sys.argv[1]), int(sys.argv[2])
    app = web.Application()
    app.router.add_post("/orders", answer)
    web.run_app(
        app,
        host="127.0.0.1",
        port=port,
        access_log=None,
        backlog=4096,
        print=None,
        reuse_port=processes > 1 or None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
