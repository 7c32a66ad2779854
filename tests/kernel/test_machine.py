"""What a machine says of a step that it does not permit."""

from __future__ import annotations

from enum import StrEnum

import pytest

from flashorder.kernel.errors import InvalidState
from flashorder.kernel.machine import Machine


class Light(StrEnum):
    """Two states."""

    ON = "on"
    OFF = "off"


MACHINE = Machine("oven", Light.ON, {Light.ON: frozenset({Light.OFF}), Light.OFF: frozenset()})


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (Light.OFF, Light.ON, "the oven is off and cannot become on"),
        (Light.OFF, Light.OFF, "the oven is off already"),
    ],
)
def test_a_refusal_is_a_sentence(source: Light, target: Light, said: str) -> None:
    with pytest.raises(InvalidState) as refused:
        MACHINE.check(source, target)
    assert refused.value.detail == said


def test_what_is_permitted_is_not_refused() -> None:
    MACHINE.check(Light.ON, Light.OFF)
