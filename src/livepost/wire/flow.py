"""Flow control both ways, and the queue of what is to be written (RFC 9113 sections 5.2 and 6.9).

`Uploads` are the request bodies that did not fit into the peer's windows, or wait to be let go.
They are output a frame at a time in turn, and only so much at once, so that a large body neither fills
the memory nor holds up the small requests beside it.

`Intake` is the window that we give the peer over all streams together: large, and made full again
in large steps.  No stream's window need ever be made larger for a body: it is as large as the largest
answer that is read.
"""

from __future__ import annotations

from livepost.wire.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_STREAM,
    FRAME_BYTES,
    LARGEST_WINDOW,
    ConnectionFault,
    ErrorCode,
    frame_head,
    window_update_frame,
)
from livepost.wire.stream import Stream

CONNECTION_WINDOW = 16 * 1024 * 1024

UPLOAD_STEP_BYTES = 256 * 1024
"""How much of the bodies in `Uploads` is output at once."""

# So that a large body, which takes all of the window for a while, leaves turns for small ones.
_WAITING_AT_MOST = 8

# Answers to a peer that asks and does not read.
_CONTROL_BYTES_LIMIT = 65_536


class Output:
    """What is to be written, and where in everything ever output it stands."""

    __slots__ = ("_control_bytes", "end", "parts", "taken")

    def __init__(self) -> None:
        self.parts: list[bytes | memoryview] = []
        """Whole frames, in any number of parts; who adds to them adds to `end`."""
        self.end = 0
        self.taken = 0
        """How many bytes were taken to be written: the kernel has no others."""
        self._control_bytes = 0

    def add(self, frame: bytes) -> None:
        """Add a control frame; never raises.

        For frames of which there are few, and one for each request at most: its end must not fail.
        """
        self.parts.append(frame)
        self.end += len(frame)

    def add_within_limit(self, frame: bytes) -> None:
        """Add a frame of which the server can demand any number.  Raises ConnectionFault when too many wait.

        To be called while every exchange is still open, or has its event in the caller's list.
        """
        self.add(frame)
        self._control_bytes += len(frame)
        if self._control_bytes > _CONTROL_BYTES_LIMIT:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, "the server asks for more answers than it reads"
            )

    def take(self) -> bytes:
        """All that waits, once."""
        taken = b"".join(self.parts)
        self.parts.clear()
        self.taken = self.end
        self._control_bytes = 0
        return taken

    def drop(self) -> None:
        """What was not taken is not to be written."""
        self.parts.clear()
        self.end = self.taken
        self._control_bytes = 0


class Uploads:
    """Request bodies that could not be output at once, and the windows that the peer gives us."""

    __slots__ = ("held", "initial_window", "is_ready", "output_bytes", "waiting", "window")

    def __init__(self) -> None:
        self.window = DEFAULT_WINDOW
        """What the peer takes over all streams together."""
        self.initial_window = DEFAULT_WINDOW
        """What it takes on a new stream."""
        self.held: dict[int, Stream] = {}
        """Those that wait for `100 Continue`, or for the peer's first SETTINGS."""
        self.waiting: dict[int, Stream] = {}
        """Those that wait for a window, or for their turn; in turn.  To be looked at only."""
        self.is_ready = False
        """More can perhaps be output before a window grows: a new body has to wait for its turn."""
        self.output_bytes = 0
        """How much was ever output of what waited here."""

    def is_blocked(self) -> bool:
        """Enough bodies wait for the connection's window: more of them would only be in doubt."""
        waiting = self.waiting.values()
        if len(waiting) < _WAITING_AT_MOST:
            return False
        return sum(min(len(stream.unsent or b""), max(0, stream.window)) for stream in waiting) >= self.window

    def takes_now(self, size: int) -> bool:
        """A new body of this size may be output at once, in one frame."""
        return not size or (not self.is_ready and size <= min(self.window, self.initial_window, FRAME_BYTES))

    def add(self, stream_id: int, stream: Stream, *, is_held: bool) -> None:
        """Take charge of the stream's `unsent`."""
        stream.window = self.initial_window
        if is_held:
            self.held[stream_id] = stream
        else:
            self._wait(stream_id, stream)

    def release(self, stream_id: int) -> None:
        """Let this one go, if it was held."""
        stream = self.held.pop(stream_id, None)
        if stream is not None:
            self._wait(stream_id, stream)

    def _wait(self, stream_id: int, stream: Stream) -> None:
        self.waiting[stream_id] = stream
        self.is_ready = True

    def drop(self, stream_id: int) -> None:
        """The rest of this body is not wanted."""
        self.held.pop(stream_id, None)
        self.waiting.pop(stream_id, None)

    def widen(self, increment: int) -> None:
        """WINDOW_UPDATE for the connection.  Raises ConnectionFault."""
        self.window += increment
        if self.window > LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window became too large")
        self.is_ready = bool(self.waiting)

    def widen_stream(self, stream: Stream, increment: int) -> bool:
        """WINDOW_UPDATE for a stream; False if its window became too large."""
        if stream.unsent is None:
            return True
        stream.window += increment
        self.is_ready = bool(self.waiting)
        return stream.window <= LARGEST_WINDOW

    def set_initial_window(self, size: int) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE, which changes open streams, too (section 6.9.2)."""
        change = size - self.initial_window
        self.initial_window = size
        for streams in (self.waiting, self.held):
            for stream in streams.values():
                stream.window += change
                if stream.window > LARGEST_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window became too large")
        self.is_ready = bool(self.waiting)

    def fill(self, output: Output) -> None:
        """Output what the windows allow, one frame of each body in turn, up to UPLOAD_STEP_BYTES."""
        left = UPLOAD_STEP_BYTES
        while self.is_ready and left and self.window > 0:
            left_before = left
            for stream_id, stream in list(self.waiting.items()):
                left -= self._output_frame(stream_id, stream, left, output)
            self.is_ready = left < left_before
        self.is_ready = self.is_ready and not left and bool(self.waiting)

    def _output_frame(self, stream_id: int, stream: Stream, left: int, output: Output) -> int:
        unsent = stream.unsent
        assert unsent is not None
        size = min(len(unsent), stream.window, self.window, FRAME_BYTES, left)
        if size <= 0:
            return 0
        is_last = size == len(unsent)
        output.parts += (frame_head(DATA, size, END_STREAM if is_last else 0, stream_id), unsent[:size])
        output.end += 9 + size
        stream.window -= size
        self.window -= size
        self.output_bytes += size
        del self.waiting[stream_id]
        if is_last:
            stream.unsent = None
            stream.end = output.end
        else:
            stream.unsent = unsent[size:]
            self.waiting[stream_id] = stream
        return size


class Intake:
    """The window that we give the peer over all streams together."""

    __slots__ = ("_used",)

    def __init__(self) -> None:
        self._used = 0

    @staticmethod
    def opening() -> bytes:
        """The frame that makes the window as large as it is to be."""
        return window_update_frame(0, CONNECTION_WINDOW - DEFAULT_WINDOW)

    def use(self, size: int, output: Output) -> None:
        """The peer used so much of it; make it full again when half is gone.  Raises ConnectionFault."""
        self._used += size
        if self._used > CONNECTION_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the server sent more than the window allows")
        if self._used >= CONNECTION_WINDOW // 2:
            output.add_within_limit(window_update_frame(0, self._used))
            self._used = 0
