"""A wire between two hosts of the kernel's own, on which a test delays and loses packets.

Each host is a network namespace with a TUN device; what one sends, this program reads, and hands to the
other, later or never.  A proxy that forwards bytes could not do that: it ends TCP at itself, so that what it
received is acknowledged, and what it loses is no loss of TCP.  (netem could; not every kernel has it.)

Needs root and /dev/net/tun; PacketWire raises OSError without.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import itertools
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

CLIENT_ADDRESS, SERVER_ADDRESS = "192.0.2.1", "192.0.2.2"

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI, _IFF_UP = 0x0001, 0x1000, 0x1
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFDSTADDR, _SIOCSIFMTU = 0x8914, 0x8916, 0x8918, 0x8922
_DEVICE = b"wire"
_MTU = 1500

_FIN, _SYN, _RST = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Packet:
    """A TCP packet on the wire."""

    is_to_client: bool
    flags: int
    payload_bytes: int

    @property
    def has_fin(self) -> bool:
        return bool(self.flags & _FIN)

    @property
    def has_rst(self) -> bool:
        return bool(self.flags & _RST)

    @property
    def is_pure_ack(self) -> bool:
        return not self.flags & (_FIN | _SYN | _RST) and not self.payload_bytes


class _Host:
    """A network namespace: its one thread lives in it, so what that opens is there."""

    def __init__(self, address: str, peer: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self.device = self._thread.submit(self._begin, address, peer).result()

    def open_socket(self) -> socket.socket:
        return self._thread.submit(socket.socket, socket.AF_INET, socket.SOCK_STREAM).result()

    def close(self) -> None:
        os.close(self.device)
        self._thread.shutdown()

    @staticmethod
    def _begin(address: str, peer: str) -> int:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", _DEVICE, _IFF_TUN | _IFF_NO_PI))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                for request, where in ((_SIOCSIFADDR, address), (_SIOCSIFDSTADDR, peer)):
                    name = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(where))
                    fcntl.ioctl(control, request, struct.pack("16s16s", _DEVICE, name))
                fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si20x", _DEVICE, _MTU))
                fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", _DEVICE, _IFF_UP))
        except OSError:
            os.close(device)
            raise
        return device


class PacketWire:
    """Two hosts and the wire, from `with` to its end.

    `delay_seconds` is for each way.  `loses(packet)` decides which are lost, asked in the wire's thread; both
    may be changed at any time.
    """

    def __init__(self, delay_seconds: float = 0.0) -> None:
        self.delay_seconds = delay_seconds
        self.loses: Callable[[Packet], bool] = lambda packet: False
        self.lost: list[Packet] = []
        self._client = _Host(CLIENT_ADDRESS, SERVER_ADDRESS)
        try:
            self._server = _Host(SERVER_ADDRESS, CLIENT_ADDRESS)
        except OSError:
            self._client.close()
            raise
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._forward)
        self._listener = self._server.open_socket()
        self._listener.bind((SERVER_ADDRESS, 0))
        self._listener.listen(100)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ending.set()
        self._thread.join()
        self._listener.close()
        self._client.close()
        self._server.close()

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """A connection: the client's end, the server's end."""
        client = self._client.open_socket()
        client.settimeout(10)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect(self._listener.getsockname())
        self._listener.settimeout(10)
        server, _ = self._listener.accept()
        server.settimeout(10)
        return client, server

    def _forward(self) -> None:
        ends = {self._client.device: self._server.device, self._server.device: self._client.device}
        under_way: list[tuple[float, int, int, bytes]] = []
        order = itertools.count()
        while not self._ending.is_set():
            wait = 0.05
            if under_way:
                wait = min(wait, max(0.0, under_way[0][0] - time.monotonic()))
            readable, _, _ = select.select(list(ends), (), (), wait)
            for device in readable:
                data = os.read(device, 65_536)
                packet = _parse(data, is_to_client=device == self._server.device)
                if packet is None:
                    continue
                if self.loses(packet):
                    self.lost.append(packet)
                    continue
                arrival = time.monotonic() + self.delay_seconds
                heapq.heappush(under_way, (arrival, next(order), ends[device], data))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, device, data = heapq.heappop(under_way)
                os.write(device, data)


def _parse(data: bytes, *, is_to_client: bool) -> Packet | None:
    """None for what is not TCP over IPv4: an interface that comes up has something to say, too."""
    if data[0] >> 4 != 4 or data[9] != socket.IPPROTO_TCP:
        return None
    ip_bytes = (data[0] & 15) * 4
    (total,) = struct.unpack_from("!H", data, 2)
    tcp_bytes = (data[ip_bytes + 12] >> 4) * 4
    return Packet(is_to_client, data[ip_bytes + 13], total - ip_bytes - tcp_bytes)
