"""A bounded memory of what was used lately."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """At most ``entries_max`` values; those used among the last half of that many are kept.

    Two dictionaries, the younger of which is filled; when it is full, the older one is dropped.
    That keeps nearly what an exact order of use would, for half of what moving each entry costs.
    """

    __slots__ = ("_generation_max", "_old", "_young")

    def __init__(self, entries_max: int) -> None:
        self._generation_max = max(1, entries_max // 2)
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def __len__(self) -> int:
        return len(self._young) + sum(key not in self._young for key in self._old)

    def get(self, key: Key) -> Value | None:
        """The value of ``key``, which counts as a use."""
        value = self._young.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Remember; ``value`` is anything but None."""
        young = self._young
        young[key] = value
        if len(young) > self._generation_max:
            self._old = young
            self._young = {}

    def forget(self, key: Key) -> None:
        """Forget one, if it is there."""
        self._young.pop(key, None)
        self._old.pop(key, None)
