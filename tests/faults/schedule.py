"""Which faults happen when: all of it from one seed, so that a run can be had again."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from tests.faults.links import Direction, Weather

FREEZE_SECONDS_MIN = 0.1
FREEZE_SECONDS_MAX = 30.0
LINK_SECONDS_MIN = 0.2
LINK_SECONDS_MAX = 10.0


class Kind(StrEnum):
    """What is done to a process, a link, or the simulators' manners."""

    KILL = "kill"
    FREEZE = "freeze"
    TERMINATE = "terminate"
    LATENCY = "latency"
    SILENCE = "silence"
    RESET = "reset"
    CUT = "cut"
    DRIP = "drip"
    REFUSE = "refuse"
    FORGET_SCRIPTS = "forget scripts"
    """SCRIPT FLUSH: the store knows none any more."""
    FORGET_GROUP = "forget group"
    """XGROUP DESTROY: nobody knows who has read what."""
    FILL = "fill"
    """The store has reached its memory limit, for a while."""
    FULL_DISK = "full disk"
    """The disk of one store has no byte left, for a while; where disks are small."""
    LATE_WAKING = "late waking"
    """A consumer sleeps until the entries in its hands are claimed by another."""
    MANNERS = "manners"
    """Webhooks doubled, reordered, late, lost; refunds refused; calls that are slow or fail."""


OF_LINKS = frozenset({Kind.LATENCY, Kind.SILENCE, Kind.RESET, Kind.CUT, Kind.DRIP, Kind.REFUSE})
OF_THE_STORE = frozenset({Kind.FORGET_SCRIPTS, Kind.FORGET_GROUP, Kind.FILL})
DISKS = ("store", "database")
ONE_SHAPE_IN = 3
_WEIGHTS = {
    Kind.KILL: 26,
    Kind.FREEZE: 20,
    Kind.TERMINATE: 12,
    Kind.LATENCY: 6,
    Kind.SILENCE: 12,
    Kind.RESET: 8,
    Kind.CUT: 8,
    Kind.DRIP: 3,
    Kind.REFUSE: 3,
    Kind.FORGET_SCRIPTS: 3,
    Kind.FORGET_GROUP: 3,
    Kind.FILL: 3,
    Kind.FULL_DISK: 4,
    Kind.LATE_WAKING: 3,
    Kind.MANNERS: 6,
}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault; ``seconds`` is how long it lasts, 0 for a blow."""

    number: int
    at_seconds: float
    kind: Kind
    target: str
    seconds: float = 0.0
    latency_seconds: float = 0.0
    directions: tuple[Direction, ...] = ()
    bytes: int = 0
    manners: dict[str, float] = {}

    @property
    def weather(self) -> Weather:
        """What becomes of the link."""
        return Weather(
            latency_seconds=self.latency_seconds,
            silent=frozenset(self.directions if self.kind is Kind.SILENCE else ()),
            cut_after=self.bytes if self.kind is Kind.CUT else None,
            drip_seconds=1.0 if self.kind is Kind.DRIP else 0.0,
            refuses=self.kind is Kind.REFUSE,
        )

    def __str__(self) -> str:
        more = [f"{self.seconds:.1f} s"] if self.seconds else []
        more += [f"{self.latency_seconds * 1000:.0f} ms"] if self.latency_seconds else []
        more += [f"after {self.bytes} bytes"] if self.kind is Kind.CUT else []
        more += self.directions
        more += [f"{name}={value:g}" for name, value in self.manners.items()]
        what = f"{self.number} at {self.at_seconds:.2f} s: {self.kind} {self.target}"
        return " ".join((what, *more))


def new_seed() -> int:
    """A seed that nobody has had yet; short enough to be typed."""
    return random.SystemRandom().randrange(10**9)


def drawn(what: str, seed: int) -> bool:
    """Whether this seed's shape has it: one in three has."""
    return random.Random(f"shape/{what}/{seed}").randrange(ONE_SHAPE_IN) == 0


def wrong_by(seed: int) -> dict[str, float]:
    """Seconds by which the roles' wall clocks are wrong: an hour either way, and one is right."""
    chance = random.Random(f"clocks/{seed}")
    roles = ["web", "consumer", "worker"]
    right = chance.choice(roles)
    return {role: chance.choice([-3600.0, 3600.0]) for role in roles if role != right}


def blows(texts: Sequence[str], seconds: float, *, every_seconds: float = 2.5) -> list[Fault]:
    """The faults that ``texts`` name, in turn, all through ``seconds``.

    A text is the kind, the target, for silence a direction and for manners a knob, and how long.
    """
    count = int(seconds / every_seconds) if texts else 0
    return [
        _blow(texts[n % len(texts)].split(), n + 1, (n + 0.5) * every_seconds) for n in range(count)
    ]


def _blow(words: Sequence[str], number: int, at: float) -> Fault:
    kind, target = Kind(words[0]), words[1]
    return Fault(
        number=number,
        at_seconds=at,
        kind=kind,
        target=target,
        seconds=float(words[-1]) if len(words) > 2 else 0.0,
        directions=(Direction(words[2]),) if kind is Kind.SILENCE else (),
        manners={words[2]: 1.0} if kind is Kind.MANNERS else {},
    )


def plan(
    seed: int,
    count: int,
    seconds: float,
    targets: Sequence[str],
    links: Sequence[str],
    *,
    longest_seconds: float = FREEZE_SECONDS_MAX,
    small_disks: bool = False,
) -> list[Fault]:
    """``count`` faults within ``seconds``, in order; the same arguments give the same plan."""
    impossible = set() if small_disks else {Kind.FULL_DISK}
    if not _consumers(targets):
        impossible.add(Kind.LATE_WAKING)
    weights = {kind: weight for kind, weight in _WEIGHTS.items() if kind not in impossible}
    chance = random.Random(f"chaos/{seed}")
    moments = sorted(chance.uniform(0.0, seconds) for _ in range(count))
    return [
        _fault(chance, weights, number, at, targets, links, longest_seconds)
        for number, at in enumerate(moments, 1)
    ]


def _fault(
    chance: random.Random,
    weights: Mapping[Kind, int],
    number: int,
    at: float,
    targets: Sequence[str],
    links: Sequence[str],
    longest_seconds: float,
) -> Fault:
    kind = chance.choices(list(weights), list(weights.values()))[0]
    of_link = kind in OF_LINKS
    if kind is Kind.MANNERS:
        target = chance.choice(["payments", "carrier"])
    elif kind in OF_THE_STORE:
        target = "store"
    elif kind is Kind.FULL_DISK:
        target = chance.choice(DISKS)
    elif kind is Kind.LATE_WAKING:
        target = chance.choice(_consumers(targets))
    else:
        target = chance.choice(list(links if of_link else targets))
    lasts = of_link and kind not in (Kind.RESET, Kind.CUT)
    seconds = 0.0
    if kind is Kind.FREEZE:
        seconds = _spread(chance, FREEZE_SECONDS_MIN, longest_seconds)
    elif lasts or kind in (Kind.MANNERS, Kind.FILL, Kind.FULL_DISK):
        seconds = _spread(chance, LINK_SECONDS_MIN, min(LINK_SECONDS_MAX, longest_seconds))
    return Fault(
        number=number,
        at_seconds=at,
        kind=kind,
        target=target,
        seconds=seconds,
        latency_seconds=_spread(chance, 0.005, 2.0) if kind is Kind.LATENCY else 0.0,
        directions=(chance.choice(list(Direction)),) if kind is Kind.SILENCE else (),
        bytes=int(_spread(chance, 1, 20_000)) if kind is Kind.CUT else 0,
        manners=manners(chance, target) if kind is Kind.MANNERS else {},
    )


def _consumers(targets: Sequence[str]) -> list[str]:
    """Where there is one alone nobody claims what it sleeps over."""
    consumers = [target for target in targets if target.startswith("consumer.")]
    return consumers if len(consumers) > 1 else []


def manners(chance: random.Random, target: str) -> dict[str, float]:
    """A few knobs of ``PUT /control`` of the simulator."""
    knobs: dict[str, float] = {
        "duplicate_webhooks": chance.choice([1, 3, 100]),
        "reorder_webhooks": 1,
        "drop_webhook_rate": chance.choice([0.3, 1.0]),
        "delay_webhook_ms": chance.choice([500, 8_000]),
        "latency_ms": chance.choice([200, 3_000]),
    }
    knobs |= {"payments": {"refuse_refund_rate": 0.5}, "carrier": {"fail_rate": 0.5}}[target]
    chosen = chance.sample(sorted(knobs), chance.randint(1, 3))
    return {name: knobs[name] for name in chosen}


def _spread(chance: random.Random, least: float, most: float) -> float:
    """Between the two, small ones as likely as large ones: evenly over the orders of magnitude."""
    return float(least * (most / least) ** chance.random())
