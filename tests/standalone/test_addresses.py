"""Which ports are taken, and which are asked for in vain."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from flashorder.kernel.errors import Misconfigured
from flashorder.settings import Settings
from flashorder.standalone.addresses import choose_addresses
from flashorder.standalone.probe import answers_ok


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_taken_port_of_the_service_is_refused(taken_port: int) -> None:
    with pytest.raises(Misconfigured, match=f"port {taken_port}"):
        choose_addresses(Settings(port=taken_port))


def test_port_0_is_any_free_one() -> None:
    chosen = choose_addresses(Settings(port=0))
    assert chosen.port > 0
    assert chosen.url == f"http://127.0.0.1:{chosen.port}"
    ports = {chosen.port, chosen.payment_simulator_port, chosen.carrier_simulator_port}
    assert len(ports) == 3


def test_a_simulator_of_somebody_else_is_not_started(taken_port: int) -> None:
    chosen = choose_addresses(
        Settings(
            port=0,
            payment_simulator_url="https://provider.example/sandbox",
            carrier_simulator_url=f"http://127.0.0.1:{taken_port}",
        )
    )
    assert chosen.payment_simulator_port is None
    assert chosen.payment_simulator_url == "https://provider.example/sandbox"
    assert chosen.carrier_simulator_port is None, "named, and answering: theirs"


def test_a_usual_simulator_port_that_is_taken_is_left_to_its_holder() -> None:
    with socket.socket() as holder:
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 8091))
            holder.listen()
        except OSError:
            pytest.skip("the usual port is somebody else's now, who may let go of it any moment")
        chosen = choose_addresses(Settings(port=0))
        assert chosen.payment_simulator_port not in (None, 8091)
        assert chosen.payment_simulator_url.endswith(f":{chosen.payment_simulator_port}")


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1"), ("127.0.0.1", "http://127.0.0.1")]
)
def test_the_url_is_one_that_can_be_called(host: str, url: str) -> None:
    assert choose_addresses(Settings(port=0, host=host)).url.startswith(url)


async def test_who_does_not_answer_is_not_ready(taken_port: int) -> None:
    assert not await answers_ok("http://127.0.0.1:1/readyz")
