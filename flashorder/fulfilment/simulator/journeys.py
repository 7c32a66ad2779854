"""What happens to parcels as time passes, and the webhooks that tell of it."""

from __future__ import annotations

import random
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any

import msgspec

from flashorder.fulfilment.simulator.control import Control

STEPS = ("label_created", "picked_up", "in_transit", "out_for_delivery", "delivered")
WEBHOOK_ATTEMPTS_MAX = 20
WEBHOOK_BACKOFF_MS_MIN = 250
WEBHOOK_BACKOFF_MS_MAX = 30_000
_PLACES = ("Sorting centre north", "Sorting centre south", "Harbour depot", "City depot")
_WORDS = {
    "label_created": "The sender has made a label",
    "picked_up": "Handed over by the sender",
    "in_transit": "On the way between depots",
    "exception": "Held up: the address could not be read",
    "out_for_delivery": "On the van",
    "delivered": "Left with the recipient",
}


@dataclass(frozen=True, slots=True)
class DueWebhook:
    """A webhook to send now; ``body`` is what gets signed."""

    event_id: str
    body: str
    attempts: int
    sends_left: int


class Journeys:
    """The events of every parcel; synchronous, of the thread that owns the books."""

    def __init__(self, db: sqlite3.Connection, chance: random.Random) -> None:
        self._db = db
        self._chance = chance

    def advance(self, now_ms: int, control: Control, labels_max: int = 200) -> int:
        """Move parcels whose time has come by one step; returns how many."""
        with Transaction(self._db):
            due = self._db.execute(
                "SELECT * FROM labels WHERE advance_at_ms <= ? ORDER BY advance_at_ms LIMIT ?",
                (now_ms, labels_max),
            ).fetchall()
            for row in due:
                self._step(row, now_ms, control)
        return len(due)

    def due_webhooks(self, now_ms: int, webhooks_max: int = 64) -> list[DueWebhook]:
        """Webhooks whose time has come, the earliest first."""
        rows = self._db.execute(
            "SELECT events.*, tracking_number, key FROM events JOIN labels USING (label_id)"
            " WHERE webhook_at_ms <= ? ORDER BY webhook_at_ms, event_no LIMIT ?",
            (now_ms, webhooks_max),
        ).fetchall()
        return [
            DueWebhook(
                row["event_id"],
                msgspec.json.encode(
                    {"type": "tracking.updated", "reference": row["key"], "data": event_record(row)}
                ).decode(),
                row["webhook_attempts"],
                row["webhook_sends_left"],
            )
            for row in rows
        ]

    def webhooks_sent(self, delivered: dict[str, bool], now_ms: int) -> None:
        """Book how sending went: by event id, whether it was taken."""
        with Transaction(self._db):
            for event_id, taken in delivered.items():
                if taken:
                    self._webhook_taken(event_id, now_ms)
                else:
                    self._webhook_refused(event_id, now_ms)

    def next_step_ms(self) -> int | None:
        """When the next parcel moves, or None."""
        return self._first("SELECT min(advance_at_ms) FROM labels")

    def next_webhook_ms(self) -> int | None:
        """When the next webhook is due, or None."""
        return self._first("SELECT min(webhook_at_ms) FROM events")

    def _first(self, statement: str) -> int | None:
        moment: int | None = self._db.execute(statement).fetchone()[0]
        return moment

    def _step(self, label: sqlite3.Row, now_ms: int, control: Control) -> None:
        label_id, progress = label["label_id"], label["progress"]
        if progress == "in_transit" and self._trouble(label_id, control):
            self.say(label_id, "exception", now_ms, control)
            following = progress
        else:
            following = STEPS[STEPS.index(progress) + 1]
            self.say(label_id, following, now_ms, control)
        self._db.execute(
            "UPDATE labels SET progress = ?, advance_at_ms = ? WHERE label_id = ?",
            (
                following,
                None if following == STEPS[-1] else now_ms + control.pace_ms,
                label_id,
            ),
        )

    def _trouble(self, label_id: str, control: Control) -> bool:
        """Once a parcel at most."""
        had = self._db.execute(
            "SELECT 1 FROM events WHERE label_id = ? AND status = 'exception'", (label_id,)
        ).fetchone()
        return had is None and self._chance.random() < control.exception_rate

    def say(self, label_id: str, status: str, now_ms: int, control: Control) -> None:
        """Note an event within the caller's transaction, and when to send its webhook, if ever."""
        dropped = self._chance.random() < control.drop_webhook_rate
        said = self._db.execute(
            "SELECT count(*) AS n FROM events WHERE label_id = ?", (label_id,)
        ).fetchone()["n"]
        at_ms = now_ms + control.delay_webhook_ms
        if self._held_back(said, control):
            at_ms += control.pace_ms + control.pace_ms // 2 + 200
        self._db.execute(
            "INSERT INTO events (event_id, label_id, status, detail, location, occurred_at_ms,"
            " webhook_at_ms, webhook_sends_left, webhook_outcome)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                f"evt_{secrets.token_hex(12)}",
                label_id,
                status,
                _WORDS[status],
                self._chance.choice(_PLACES),
                now_ms,
                None if dropped else at_ms,
                1 + self._copies(control),
                "dropped" if dropped else "waiting",
            ),
        )

    def _held_back(self, said: int, control: Control) -> bool:
        if control.reorder_webhooks is True:
            return said % 2 == 0
        return self._chance.random() < control.reorder_webhooks

    def _copies(self, control: Control) -> int:
        """Whole copies, and one more as often as the fraction says."""
        wanted = float(control.duplicate_webhooks)
        return int(wanted) + (self._chance.random() < wanted % 1)

    def _webhook_taken(self, event_id: str, now_ms: int) -> None:
        self._db.execute(
            "UPDATE events SET webhook_sends_left = webhook_sends_left - 1,"
            " webhook_attempts = webhook_attempts + 1,"
            " webhook_at_ms = CASE WHEN webhook_sends_left > 1 THEN ? END,"
            " webhook_outcome = CASE WHEN webhook_sends_left > 1 THEN 'waiting'"
            " ELSE 'delivered' END WHERE event_id = ?",
            (now_ms, event_id),
        )

    def _webhook_refused(self, event_id: str, now_ms: int) -> None:
        row = self._db.execute(
            "SELECT webhook_attempts + 1 AS attempts FROM events WHERE event_id = ?", (event_id,)
        ).fetchone()
        attempts = row["attempts"]
        given_up = attempts >= WEBHOOK_ATTEMPTS_MAX
        pause_ms = min(WEBHOOK_BACKOFF_MS_MAX, WEBHOOK_BACKOFF_MS_MIN * 2**attempts)
        self._db.execute(
            "UPDATE events SET webhook_attempts = ?, webhook_at_ms = ?, webhook_outcome = ?"
            " WHERE event_id = ?",
            (
                attempts,
                None if given_up else now_ms + int(pause_ms * self._chance.uniform(0.5, 1)),
                "given_up" if given_up else "waiting",
                event_id,
            ),
        )


class Transaction:
    """``BEGIN IMMEDIATE`` … ``COMMIT``, or ``ROLLBACK`` on an exception."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._db.execute("COMMIT" if error is None else "ROLLBACK")


def event_record(row: sqlite3.Row) -> dict[str, Any]:
    """An event as answers, webhooks and the ledger show it."""
    return {
        "event_id": row["event_id"],
        "tracking_number": row["tracking_number"],
        "status": row["status"],
        "detail": row["detail"],
        "location": row["location"],
        "occurred_at_ms": row["occurred_at_ms"],
    }
