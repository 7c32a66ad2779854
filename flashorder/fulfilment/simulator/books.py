"""The books of the simulated carrier: SQLite with a write-ahead log, synced at each commit.

What it has answered it still knows after kill -9. ``Books`` is synchronous and belongs to one
thread; ``service.py`` calls it from a thread of its own.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from flashorder.fulfilment.simulator.control import Control
from flashorder.fulfilment.simulator.journeys import Journeys, Transaction, event_record
from flashorder.kernel.errors import Conflict, InvalidInput, Misconfigured, NotFound


class Books:
    """Labels, events and the webhooks that are still to be sent.

    Raises ``Misconfigured`` when the file cannot be opened, or is damaged.
    """

    def __init__(self, path: Path, chance: random.Random) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = _opened(path)
        self.journeys = Journeys(self._db, chance)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # -- control

    def control(self) -> Control:
        """What is in force."""
        row = self._db.execute("SELECT document FROM control").fetchone()
        return msgspec.json.decode(row["document"], type=Control) if row else Control()

    def set_control(self, control: Control, now_ms: int) -> None:
        """Put ``control`` in force; parcels that wait longer than the new pace are hurried."""
        with Transaction(self._db):
            self._db.execute(
                "INSERT INTO control (only, document) VALUES (1, ?)"
                " ON CONFLICT (only) DO UPDATE SET document = excluded.document",
                (msgspec.json.encode(control).decode(),),
            )
            self._db.execute(
                "UPDATE labels SET advance_at_ms = ? WHERE advance_at_ms > ?",
                (now_ms + control.pace_ms, now_ms + control.pace_ms),
            )

    # -- labels

    def create_label(
        self, key: str, request: dict[str, Any], now_ms: int, control: Control
    ) -> dict[str, Any]:
        """The label of ``key``, made now or before.

        Raises ``InvalidInput`` when the key stood for another request, ``Conflict`` when its label
        has been cancelled.
        """
        text = msgspec.json.encode(request, order="deterministic").decode()
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
        with Transaction(self._db):
            row = self._by_key(key)
            if row is None:
                self._insert_label(key, text, fingerprint, now_ms, control)
                row = self._by_key(key)
        assert row is not None
        if row["fingerprint"] != fingerprint:
            raise InvalidInput("the key stood for another label", code="idempotency_key_reused")
        if row["status"] == "cancelled":
            raise Conflict("the label of this key was cancelled", code="label_cancelled")
        return _label(row)

    def cancel_label(self, key: str, now_ms: int) -> dict[str, Any]:
        """Void the label of ``key``; ``Conflict`` (``picked_up``) once the parcel is moving."""
        with Transaction(self._db):
            row = self._by_key(key)
            if row is None:
                raise NotFound(code="label_not_found")
            if row["status"] == "active":
                if row["progress"] != "label_created":
                    raise Conflict("the parcel is on its way", code="picked_up")
                self._db.execute(
                    "UPDATE labels SET status = 'cancelled', cancelled_at_ms = ?,"
                    " advance_at_ms = NULL WHERE key = ?",
                    (now_ms, key),
                )
            row = self._by_key(key)
        assert row is not None
        return _label(row)

    def document_of(self, token: str) -> tuple[str, dict[str, Any]]:
        """Tracking number and request behind a document's token."""
        row = self._db.execute(
            "SELECT tracking_number, request FROM labels WHERE document_token = ?", (token,)
        ).fetchone()
        if row is None:
            raise NotFound(code="label_not_found")
        return row["tracking_number"], msgspec.json.decode(row["request"])

    def tracking(self, tracking_number: str) -> dict[str, Any]:
        """The parcel with everything that was said of it."""
        row = self._db.execute(
            "SELECT * FROM labels WHERE tracking_number = ?", (tracking_number,)
        ).fetchone()
        if row is None:
            raise NotFound(code="tracking_number_not_found")
        return _label(row) | {"events": self._events_of(row)}

    # -- the ledger

    def ledger(self, after: str, labels_max: int) -> dict[str, Any]:
        """Totals, and a page of labels after the label id ``after``, each with its events."""
        rows = self._db.execute(
            "SELECT * FROM labels WHERE label_id > ? ORDER BY label_id LIMIT ?",
            (after, labels_max + 1),
        ).fetchall()
        page = rows[:labels_max]
        return {
            "totals": self._totals(),
            "labels": [_label(row) | {"events": self._events_of(row)} for row in page],
            "next_cursor": page[-1]["label_id"] if len(rows) > labels_max else None,
        }

    def _totals(self) -> dict[str, int]:
        labels = self._db.execute(
            "SELECT count(*) AS labels, count(*) FILTER (WHERE status = 'cancelled') AS cancelled,"
            " count(*) FILTER (WHERE progress = 'delivered') AS delivered FROM labels"
        ).fetchone()
        webhooks = dict.fromkeys(("waiting", "delivered", "dropped", "given_up"), 0)
        webhooks |= {
            row["webhook_outcome"]: row["n"]
            for row in self._db.execute(
                "SELECT webhook_outcome, count(*) AS n FROM events GROUP BY webhook_outcome"
            )
        }
        events = sum(webhooks.values())
        return dict(labels) | {"events": events} | {f"webhooks_{k}": n for k, n in webhooks.items()}

    # -- inside

    def _by_key(self, key: str) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._db.execute(
            "SELECT * FROM labels WHERE key = ?", (key,)
        ).fetchone()
        return row

    def _events_of(self, label: sqlite3.Row) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT events.*, ? AS tracking_number FROM events WHERE label_id = ?"
            " ORDER BY event_no",
            (label["tracking_number"], label["label_id"]),
        )
        return [event_record(row) for row in rows]

    def _insert_label(
        self, key: str, request: str, fingerprint: str, now_ms: int, control: Control
    ) -> None:
        label_id = f"lbl_{now_ms:013d}{secrets.token_hex(6)}"
        self._db.execute(
            "INSERT INTO labels (label_id, key, fingerprint, request, tracking_number,"
            " document_token, progress, advance_at_ms, created_at_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, 'label_created', ?, ?)",
            (
                label_id,
                key,
                fingerprint,
                request,
                f"SIM{secrets.randbelow(10**12):012d}",
                secrets.token_urlsafe(24),
                now_ms + control.pace_ms,
                now_ms,
            ),
        )
        self.journeys.say(label_id, "label_created", now_ms, control)


def _opened(path: Path) -> sqlite3.Connection:
    schema = resources.files(__package__) / "schema.sql"
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise Misconfigured(f"{path} cannot be opened: {error}") from None
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        # Damage further in would come to light only with the label that it hits.
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _damaged(path, found)
        db.executescript(schema.read_text(encoding="utf-8"))
    except sqlite3.OperationalError as error:
        db.close()
        raise Misconfigured(f"{path} cannot be opened: {error}") from None
    except sqlite3.DatabaseError as error:
        db.close()
        raise _damaged(path, str(error)) from None
    except BaseException:
        db.close()
        raise
    return db


def _damaged(path: Path, reason: str) -> Misconfigured:
    return Misconfigured(
        f"{path} is damaged ({reason}): move the file away, and the simulator begins anew"
    )


def _label(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "label_id": row["label_id"],
        "reference": row["key"],
        "tracking_number": row["tracking_number"],
        "document_token": row["document_token"],
        "status": row["status"],
        "progress": row["progress"],
        "created_at_ms": row["created_at_ms"],
    }
