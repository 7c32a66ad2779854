"""Admission closes before the store is full, opens again, and survives what it cannot read."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from flashorder.infra.redis.connection import connect_redis
from flashorder.kernel.errors import Overloaded
from flashorder.reservations.admission import Admission
from flashorder.reservations.metrics import ReserveMetrics
from tests.stores import BreakableStores


async def test_it_closes_near_the_bound_and_opens_below(stores: BreakableStores) -> None:
    client = connect_redis(stores.redis_url)
    metrics = ReserveMetrics(CollectorRegistry())
    admission = Admission(client, memory_share_max=0.5, metrics=metrics)
    await admission.look()
    admission.check()
    used_bytes = int((await client.info("memory"))["used_memory"])
    await client.config_set("maxmemory", used_bytes + used_bytes // 2)
    await admission.look()
    with pytest.raises(Overloaded) as caught:
        admission.check()
    assert caught.value.retry_after_seconds
    await client.config_set("maxmemory", 0)  # no bound is no reason to refuse
    await admission.look()
    admission.check()
    await client.aclose()


async def test_an_answer_that_is_refused_does_not_end_the_watch(stores: BreakableStores) -> None:
    client = connect_redis(stores.redis_url)
    metrics = ReserveMetrics(CollectorRegistry())
    admission = Admission(client, memory_share_max=0.5, metrics=metrics)
    operator = connect_redis(stores.redis_url)
    await operator.acl_setuser("default", enabled=True, commands=["-info"])
    stopping = asyncio.Event()
    watch = asyncio.create_task(admission.run(stopping))
    done, _ = await asyncio.wait({watch}, timeout=1.2)  # two looks
    await operator.acl_setuser("default", enabled=True, commands=["+info"])
    assert not done
    stopping.set()
    await watch
    await client.aclose()
    await operator.aclose()
