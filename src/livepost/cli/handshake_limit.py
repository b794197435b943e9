"""`--max-handshakes-per-1000`: what is said of a run that needed more, and what may help."""

from __future__ import annotations

from livepost.errors import LivepostError
from livepost.events import CloseReason
from livepost.report.summary import Connections

_OPTION = "--max-handshakes-per-1000"

# For what ended most connections; without one of these, the summary is where to look.
_HINTS = {
    CloseReason.KEEPALIVE_OFF: "leave out --no-keepalive",
    CloseReason.FINISHED: f"lower --connections: there were few records for each; or raise {_OPTION}",
    CloseReason.IDLE_LIMIT: "raise --max-idle",
    CloseReason.IDLE_TIMEOUT: "raise --idle-timeout, or send with shorter pauses",
    CloseReason.EXPIRED: "most connections were idle for so long that the server may have been closing them: "
    "send with shorter pauses, or add --keepalive-path PATH",
    CloseReason.TIMEOUT: "the server is slow: lower --connections, or raise --max-time",
    CloseReason.SERVER_CAP: "the server ended most connections, after as many requests as it allows: "
    f"have it allow more, or raise {_OPTION}",
    CloseReason.SERVER_AGE: "the server ended most connections, at the age that it lets one have: "
    f"have it allow more, or raise {_OPTION}",
    CloseReason.SERVER_ANNOUNCED: "the server ended most connections, as it said with its last answers: "
    f"have it keep them longer, or raise {_OPTION}",
    CloseReason.LIMIT_REACHED: "most connections had carried as many requests as the server answers on one: "
    f"have it allow more, or raise {_OPTION}",
    CloseReason.SERVER_IDLE: "the server closed most connections while they were idle: send with shorter "
    "pauses, or add --keepalive-path PATH --keepalive-every auto",
}
_ANY_HINT = "the summary tells under closed why connections ended"


def too_many_handshakes(connections: Connections, limit: float | None) -> LivepostError | None:
    """What to say of a run that exceeded the limit; None if it did not, or there is none.

    What the summary shows is what is judged: `handshakes_per_1000`, to its four digits.
    """
    if limit is None or connections.handshakes_per_1000 <= limit:
        return None
    reason = next(iter(connections.closed), None)
    return LivepostError(
        f"there were {connections.handshakes_per_1000:,g} handshakes per 1,000 records, more than the "
        f"{limit:,g} of {_OPTION}",
        _ANY_HINT if reason is None else _HINTS.get(CloseReason(reason), _ANY_HINT),
    )
