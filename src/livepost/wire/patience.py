"""What one side can make the other do, bounded by number, as there is no clock.

The server's frames that bring no answer further: PING, SETTINGS, WINDOW_UPDATE, PRIORITY, empty DATA
and interim heads cost it next to nothing (CVE-2019-9512 and the like).  Our resets: servers take many
of them for an attack.  Our requests, where it asks for calm.
"""

from __future__ import annotations

from livepost.wire.frames import LARGEST_STREAM, LARGEST_WINDOW, ConnectionFault, ErrorCode

IDLE_FRAMES_LIMIT = 10_000

BODY_BYTES_PER_FRAME = 128
"""So much of our bodies makes up for one WINDOW_UPDATE.  Go's server sends two for each 4 KiB, others for as
little as is read at a time; those of a server that widens by single bytes are not made up for."""

# What was sent before it is widened for may be a window of each stream.
_FRAMES_IN_HAND = 100_000

_CANCELS_AT_FIRST = 2
_CANCELS_AT_MOST = 100
_REQUESTS_PER_CANCEL = 4

_ROUNDS_OF_CALM = 64
_MOST_ROUNDS_OF_CALM = 4_096


class Patience:
    """Counts frames that bring nothing, anew whenever a request has been sent since the last one."""

    __slots__ = ("_body_bytes", "_frames", "_next_id")

    def __init__(self) -> None:
        self._body_bytes = 0
        self._frames = 0
        """Below 0 while bodies have made up for more than came."""
        self._next_id = 0

    def spend(self, next_id: int, frames: int = 1) -> None:
        """One more such frame, or what is as much trouble as so many; `next_id` is the next stream.

        Raises ConnectionFault.
        """
        if next_id != self._next_id:
            self._next_id = next_id
            self._frames = min(self._frames, 0)
        self._frames += frames
        if self._frames > IDLE_FRAMES_LIMIT:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, f"the server sent {IDLE_FRAMES_LIMIT} frames that say nothing"
            )

    def spend_on_window(self, next_id: int, body_bytes: int) -> None:
        """As `spend`, for WINDOW_UPDATE; `body_bytes` is how much was output of bodies that wait for one."""
        earned = (body_bytes - self._body_bytes) // BODY_BYTES_PER_FRAME
        self._body_bytes += earned * BODY_BYTES_PER_FRAME
        self._frames = max(self._frames - earned, -_FRAMES_IN_HAND)
        self.spend(next_id)


class CancelBudget:
    """How many streams may be cancelled without looking like an attack (rapid reset, CVE-2023-44487).

    Servers count differently; the strictest known ones are Tomcat (about one in three requests) and
    Envoy (half of all, once there were 500).
    """

    __slots__ = ("_left", "_requests")

    def __init__(self) -> None:
        self._left: float = _CANCELS_AT_FIRST
        self._requests = 0

    def spend(self, requests: int) -> bool:
        """Take one if there is one; `requests` is how many the connection has carried."""
        earned = (requests - self._requests) / _REQUESTS_PER_CANCEL
        self._requests = requests
        self._left = min(_CANCELS_AT_MOST, self._left + earned)
        if self._left < 1:
            return False
        self._left -= 1
        return True


class CalmLimit:
    """How many exchanges may be open at a time after the server asked for calm (ENHANCE_YOUR_CALM).

    Half as many as were when it asked; then one more after every 64 times as many requests, which is 64 round
    trips or more.  As asking again is likely to cost a record its certainty, each further time makes that
    twice as long.  It grows only as far as it is asked for (`places_at`).
    """

    __slots__ = ("_asked_before", "_grows_at", "_rounds", "places")

    def __init__(self) -> None:
        self.places = LARGEST_WINDOW
        self._asked_before = 0
        """The first stream that was begun after it asked last."""
        self._rounds = _ROUNDS_OF_CALM // 2
        self._grows_at = LARGEST_STREAM
        """With which next stream it grows."""

    def asked(self, stream_id: int, next_id: int, count: int) -> None:
        """The server asked on this stream, when so many were open; once for all that were begun before."""
        if stream_id >= self._asked_before:
            self._asked_before = next_id
            self._rounds = min(2 * self._rounds, _MOST_ROUNDS_OF_CALM)
            self.places = max(1, min(self.places, count) // 2)
            self._begin_stretch(next_id)

    def places_at(self, next_id: int) -> int:
        """How many when this is the next stream; to be asked while more could be open otherwise."""
        if next_id >= self._grows_at:
            self.places += 1
            self._begin_stretch(next_id)
        return self.places

    def _begin_stretch(self, next_id: int) -> None:
        self._grows_at = next_id + 2 * self._rounds * self.places
