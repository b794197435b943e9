from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from livepost.rehearsal.packet_filter import drop_incoming, dropped_segments

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="socket filters are Linux's")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        accepted, _ = server.accept()
        with accepted:
            yield client, accepted


def acknowledged_bytes(sock: socket.socket) -> int:
    """tcpi_bytes_acked of linux/tcp.h; the SYN counts as one."""
    return int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)[120:128], sys.byteorder)


def test_what_a_deaf_connection_is_sent_is_neither_read_nor_acknowledged(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, deaf = pair
    client.send(b"heard")
    assert deaf.recv(100) == b"heard"
    before = dropped_segments(deaf), acknowledged_bytes(client)
    assert drop_incoming(deaf)
    client.send(b"lost")
    while dropped_segments(deaf) == before[0]:
        pass
    deaf.settimeout(0.01)
    with pytest.raises(TimeoutError):
        deaf.recv(100)
    assert acknowledged_bytes(client) == before[1]


def test_a_socket_that_takes_no_filter_stays_as_it_was() -> None:
    class Refusing:
        def setsockopt(self, level: int, option: int, value: bytes) -> None:
            raise PermissionError

        def getsockopt(self, level: int, option: int, length: int) -> bytes:
            raise AssertionError

    assert not drop_incoming(Refusing())
