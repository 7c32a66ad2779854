"""Background work of accounts."""

from __future__ import annotations

from flashorder.accounts.service import AccountService
from flashorder.infra.jobs import Job
from flashorder.settings import Settings


def web_jobs(service: AccountService, settings: Settings) -> list[Job]:
    """For every web worker: learn which sessions have ended."""
    return [Job("ended_sessions", settings.session_poll_seconds, service.tell_ended_sessions)]


def jobs(service: AccountService, settings: Settings) -> list[Job]:
    """For the worker: forget sessions that are over."""
    return [Job("forget_sessions", 60.0, service.forget_sessions)]
