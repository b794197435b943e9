"""How many streams there may be open on a connection, by all that limits them.

The server says how many it takes, and the user how many there may be at a time.  Of the server's, those
count too that nobody waits for but that it may still be at work on; and of both, those that were cancelled
since anything was read (`Streams.unheard`): a server that is gone would otherwise be given new requests in
their places for ever.  A server that asks for calm gets fewer for a while (`CalmLimit`).
"""

from __future__ import annotations

from livepost.events import CloseReason
from livepost.wire.frames import LARGEST_STREAM
from livepost.wire.patience import CalmLimit
from livepost.wire.settings import PeerSettings
from livepost.wire.streams import Streams

_UNKNOWN = 2**31

# A server that names no limit is not to be left with ever more streams that nobody waits for.
_ABANDONED_AT_MOST = 1_000


class Places:
    """Reckons how many exchanges a connection carries (`capacity`), and how many more it takes (`room`)."""

    __slots__ = ("_calm", "_most_open", "_peer", "_streams")

    def __init__(self, streams: Streams, peer: PeerSettings, calm: CalmLimit, most_open: int) -> None:
        self._streams = streams
        self._peer = peer
        self._calm = calm
        self._most_open = most_open

    @property
    def capacity(self) -> int:
        """How many at a time; a large number while the server has not said.

        What passes, calm and silence, does not count: it is no reason for another connection.
        """
        if not self._peer.are_known:
            return _UNKNOWN
        return max(0, min(self._peer.max_streams - len(self._streams.abandoned), self._most_open))

    def room(self) -> int:
        """How many more now.  Closes the connection where there can be none any more.

        Bodies that wait for a window limit them only here, not in `Http2Machine.send`: who was told of so
        much room has so many to send.
        """
        streams = self._streams
        next_id = streams.next_id
        taken = len(streams.abandoned)
        # A server that gives no streams at all may give some later.
        is_full = 0 < min(self._peer.max_streams, _ABANDONED_AT_MOST) <= taken
        if next_id > LARGEST_STREAM or is_full:
            streams.close(CloseReason.EXHAUSTED)
        if streams.closing is not None or streams.uploads.is_blocked():
            return 0
        places = min(self._peer.max_streams - taken, self._most_open)
        if places > self._calm.places:
            places = self._calm.places_at(next_id)
        if streams.unheard:
            places = self._without_unheard(places)
        return max(0, min(places - len(streams.open), (LARGEST_STREAM - next_id) // 2 + 1))

    def _without_unheard(self, places: int) -> int:
        streams = self._streams
        unheard = streams.unheard
        of_server = self._peer.max_streams - len(streams.abandoned | unheard)
        return min(places, of_server, self._most_open - len(unheard), self._calm.places - len(unheard))
