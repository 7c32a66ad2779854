"""FastAPI + uvicorn + redis-py: one EVALSHA a request. Environment: PORT, STORE_URL."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, Response
from pydantic import BaseModel

from bench.peers.script import SaleScript


class Purchase(BaseModel):
    """The body."""

    sku: str
    quantity: int


@asynccontextmanager
async def _script(app: FastAPI) -> AsyncIterator[None]:
    async with SaleScript.opened(os.environ["STORE_URL"]) as script:
        app.state.script = script
        yield


app = FastAPI(lifespan=_script)


@app.post("/orders", status_code=202)
async def buy(
    wanted: Purchase,
    response: Response,
    idempotency_key: Annotated[str, Header()],
    x_buyer: Annotated[str, Header()],
) -> dict[str, Any]:
    """One purchase."""
    code, detail = await app.state.script.buy(idempotency_key, x_buyer, wanted.sku, wanted.quantity)
    if code > 2:
        response.status_code = 409
        return {"code": "refused", "reason": code}
    return {
        "order_id": detail.decode(),
        "sku": wanted.sku,
        "quantity": wanted.quantity,
        "status": "accepted",
    }


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False
    )
