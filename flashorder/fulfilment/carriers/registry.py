"""The carriers of this deployment, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack

from flashorder.fulfilment.carriers.port import Carrier
from flashorder.fulfilment.carriers.simulator import SimulatedCarrier
from flashorder.kernel.errors import FieldError, InvalidInput, NotFound
from flashorder.settings import Settings


class Carriers(Mapping[str, Carrier]):
    """Every carrier there is; closes them together."""

    def __init__(self, carriers: list[Carrier]) -> None:
        self._carriers = {carrier.name: carrier for carrier in carriers}
        assert len(self._carriers) == len(carriers), "two carriers have one name"

    def __getitem__(self, name: str) -> Carrier:
        return self._carriers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._carriers)

    def __len__(self) -> int:
        return len(self._carriers)

    def chosen(self, name: str) -> Carrier:
        """The carrier that a body names; ``InvalidInput`` if there is none."""
        if name not in self._carriers:
            known = ", ".join(sorted(self._carriers))
            detail = f"there is no such carrier; known: {known}"
            field = FieldError("/carrier", "carrier_unknown", detail)
            raise InvalidInput(detail, code="carrier_unknown", fields=(field,))
        return self._carriers[name]

    def addressed(self, name: str) -> Carrier:
        """The carrier that a path names; ``NotFound`` if there is none."""
        if name not in self._carriers:
            raise NotFound(code="carrier_not_found")
        return self._carriers[name]

    async def close(self) -> None:
        """Let go of every carrier's connections, whatever one of them raises."""
        async with AsyncExitStack() as stack:
            for carrier in self._carriers.values():
                stack.push_async_callback(carrier.close)


def build_carriers(settings: Settings) -> Carriers:
    """The carriers that ``settings`` name; nothing connects before it is used."""
    return Carriers([SimulatedCarrier.of(settings)])
