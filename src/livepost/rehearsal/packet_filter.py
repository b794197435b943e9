"""Makes a connection deaf: what its client sends is dropped in the kernel, and not even acknowledged.

So it looks to the client as if something between them had forgotten the connection.  A socket
filter needs no privileges (socket(7), SO_ATTACH_FILTER; Linux).
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from typing import Protocol

_SO_ATTACH_FILTER = 26
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")
_DROPS = 8
_RETURN_CONSTANT = 0x06
_DROP_ALL = struct.pack("HBBI", _RETURN_CONSTANT, 0, 0, 0)


class Socket(Protocol):
    """What asyncio and uvloop let one do with the socket of a transport."""

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...
    def getsockopt(self, level: int, option: int, length: int, /) -> bytes: ...


def drop_incoming(sock: Socket) -> bool:
    """Drop every segment from now on; False if this system cannot."""
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
    except OSError:
        return False
    return True


def dropped_segments(sock: Socket) -> int:
    """How many were dropped so far, for whatever reason."""
    return int(_MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[_DROPS])
