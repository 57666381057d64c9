"""Ports of the local stack."""

import socket

from infra.local import ports


def test_a_port_that_is_taken_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = ports.free(port)
        assert found != port
        assert ports.is_free(found)


def test_a_port_that_is_free_is_kept() -> None:
    port = ports.free()
    assert ports.free(port) == port
