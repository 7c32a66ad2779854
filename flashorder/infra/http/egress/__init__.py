"""Calls to addresses that somebody else has named: which are permitted, and a client that asks.

A URL that a user gives us is a way to have our own network called (server-side request forgery).
``policy`` says which URLs and addresses are permitted; ``client`` asks it of each address at the
moment when a connection to it is made, so that a name that leads elsewhere the second time it is
looked up gains nothing.
"""

from flashorder.infra.http.egress.client import (
    Egress,
    EgressAnswer,
    EgressFailed,
    Failure,
    open_egress,
)
from flashorder.infra.http.egress.policy import EgressPolicy, UrlRefused

__all__ = [
    "Egress",
    "EgressAnswer",
    "EgressFailed",
    "EgressPolicy",
    "Failure",
    "UrlRefused",
    "open_egress",
]
