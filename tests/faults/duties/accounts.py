"""People who sign up, keep an address book, and leave."""

from __future__ import annotations

import asyncio
import uuid

from tests.faults.clients import Buyer
from tests.faults.duties.staff import Staff

ADDRESS = {
    "recipient": "A. Shopper",
    "line1": "1 High Street",
    "city": "London",
    "postal_code": "N1 1AA",
    "country": "GB",
}
PAUSE_SECONDS = 2.0  # a password is worked at for a tenth of a second
PASSWORD = "correct horse battery staple"


async def sign_up(staff: Staff) -> Buyer:
    """Somebody with an account."""
    body = {"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD, "name": "A. Shopper"}
    account = (await staff.call("POST", "accounts", body)).must().body
    del body["name"]
    tokens = (await staff.call("POST", "tokens", body)).must().body
    buyer = Buyer(account["account_id"], tokens["access_token"])
    staff.known[buyer.buyer_id] = buyer
    return buyer


async def sign_up_and_out(staff: Staff) -> None:
    """The whole of an account's life."""
    email = f"{uuid.uuid4().hex}@example.com"
    account = (await staff.call(
        "POST", "accounts", {"email": email, "password": PASSWORD, "name": "A. Shopper"}
    )).must().body  # fmt: skip
    await staff.call("POST", "accounts", {"email": email, "password": PASSWORD, "name": "Again"})
    tokens = (await staff.call("POST", "tokens", {"email": email, "password": PASSWORD})).must()
    refresh = {"refresh_token": tokens.body["refresh_token"]}
    tokens = (await staff.call("POST", "tokens", refresh)).must()
    me = Buyer(account["account_id"], tokens.body["access_token"])
    read = (await staff.call("GET", "me", by=me)).must()
    await staff.call("PUT", "me", {"name": "B. Shopper"}, by=me, headers={"If-Match": read.etag})
    added = (await staff.call("POST", "me/addresses", ADDRESS, by=me)).must()
    await staff.call("GET", "me/addresses", by=me)
    one = f"me/addresses/{added.body['address_id']}"
    changed = (await staff.call(
        "PUT", one, ADDRESS | {"city": "Leeds"}, by=me, headers={"If-Match": added.etag}
    )).must()  # fmt: skip
    await staff.call("GET", one, by=me)
    await staff.call("DELETE", one, by=me, headers={"If-Match": changed.etag})
    await staff.call("DELETE", "tokens/current", by=me)
    await staff.call("GET", "me", by=me)
    await staff.call("POST", "tokens", refresh)  # used before: an alarm
    await asyncio.sleep(PAUSE_SECONDS)
