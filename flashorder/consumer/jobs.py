"""What the consumer's room listens to."""

from __future__ import annotations

from flashorder.consumer.dead_letters import DeadLetters
from flashorder.kernel.events import Handler, Topic


def subscriptions(letters: DeadLetters) -> dict[Topic, Handler]:
    """Discarded entries give their units back."""
    return {Topic.DEAD_LETTER_DISCARDED: letters.discarded}
