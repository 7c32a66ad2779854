"""What the event loop says of a connection that has just been lost."""

from __future__ import annotations

_UVLOOP_SAYS = "the handler is closed"


def is_closed_transport(error: RuntimeError) -> bool:
    """Whether ``error`` is uvloop's, for writing to a connection that has been lost.

    It is raised between the loss and the news of it, where asyncio's own loop says nothing.
    """
    return _UVLOOP_SAYS in str(error)
