"""Webhooks on their way: signed as https://www.standardwebhooks.com says, a few at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
from standardwebhooks import Webhook

from flashorder.fulfilment.simulator.journeys import DueWebhook
from flashorder.kernel.clock import utc_now

SENDS_AT_ONCE_MAX = 16


class Postman:
    """Sends webhooks to one address."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: bytes) -> None:
        self._session = session
        self._url = url
        self._signer = Webhook(key)
        self._slots = asyncio.Semaphore(SENDS_AT_ONCE_MAX)

    async def send(self, webhooks: Sequence[DueWebhook]) -> dict[str, bool]:
        """Send each once; by event id, whether it was taken (2xx)."""
        async with asyncio.TaskGroup() as group:
            sending = {each.event_id: group.create_task(self._post(each)) for each in webhooks}
        return {event_id: task.result() for event_id, task in sending.items()}

    async def _post(self, webhook: DueWebhook) -> bool:
        sent_at = utc_now()
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook.event_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": self._signer.sign(webhook.event_id, sent_at, webhook.body),
        }
        async with self._slots:
            try:
                async with self._session.post(
                    self._url, data=webhook.body.encode(), headers=headers
                ) as answer:
                    return answer.status < 300
            except (aiohttp.ClientError, TimeoutError):
                return False  # the books know how often, and when to try again
