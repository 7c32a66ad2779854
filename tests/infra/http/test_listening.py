"""Sockets on one port: whose it is, and where the kernel sends new connections."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from flashorder.infra.http.listening import Listening, SharedPort, accept_waiting
from flashorder.kernel.errors import Misconfigured


def arrivals(shared: SharedPort, count: int, connections: int = 60) -> list[int]:
    """How many of so many new connections each socket gets."""
    at = (shared.listening.host, shared.listening.port)
    clients = [socket.create_connection(at) for _ in range(connections)]
    got = []
    for index in range(count):
        with socket.socket(fileno=os.dup(shared.fileno(index))) as listener:
            accepted = accept_waiting(listener)
        got.append(len(accepted))
        for each in accepted:
            each.close()
    for each in clients:
        each.close()
    assert sum(got) == connections
    return got


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel that can be told")
def test_new_connections_go_where_they_are_steered() -> None:
    with SharedPort("127.0.0.1", 0, 3) as shared:
        assert all(arrivals(shared, 3))
        for indexes in ([1, 2], [0], [2], [0, 1, 2], []):
            shared.steer(indexes)
            got = arrivals(shared, 3)
            assert [index for index in range(3) if got[index]] == (indexes or [0, 1, 2])


def test_a_port_is_one_owners() -> None:
    with SharedPort("127.0.0.1", 0, 2) as shared:
        port = shared.listening.port
        with pytest.raises(Misconfigured, match=f"port {port} of 127.0.0.1 is taken"):
            SharedPort("127.0.0.1", port, 2)
    with SharedPort("127.0.0.1", port, 2):
        pass
    shared.steer([0])  # after the end: nothing


def test_what_is_no_address_is_said_so() -> None:
    with pytest.raises(Misconfigured, match=r"cannot listen on 192\.0\.2\.1"):
        SharedPort("192.0.2.1", 0, 1)


def test_a_url_is_written_as_clients_write_it() -> None:
    assert Listening("127.0.0.1", 80).url == "http://127.0.0.1:80"
    assert Listening("::1", 80).url == "http://[::1]:80"
