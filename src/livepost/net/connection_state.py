"""The states of a connection.

IDLE <──> BUSY ──> DRAINING, ENDING ──> CLOSED     (dials are the pool's: it begins when one is made)
├─> TESTING <┘
└─> RETIRED
"""

from __future__ import annotations

import enum


class ConnectionState(enum.Enum):
    """What a connection is about.  Each may also be followed by CLOSED at once."""

    IDLE = "idle"
    """It waits for work."""
    TESTING = "testing"
    """It is asked whether it is still there."""
    BUSY = "busy"
    """It carries work."""
    RETIRED = "retired"
    """It is given nothing more, and left open to see when the server closes it."""
    DRAINING = "draining"
    """It is given nothing more, and closed when what is open has ended."""
    ENDING = "ending"
    """The server has closed it, and whether it had received the request will show within two round trips."""
    CLOSED = "closed"


_CLOSED_ONLY = (ConnectionState.CLOSED,)

TRANSITIONS = {
    ConnectionState.IDLE: (
        *(ConnectionState.TESTING, ConnectionState.BUSY, ConnectionState.RETIRED),
        ConnectionState.CLOSED,
    ),
    ConnectionState.TESTING: (ConnectionState.BUSY, ConnectionState.CLOSED),
    ConnectionState.BUSY: (
        *(ConnectionState.IDLE, ConnectionState.TESTING, ConnectionState.DRAINING, ConnectionState.ENDING),
        ConnectionState.CLOSED,
    ),
    ConnectionState.RETIRED: _CLOSED_ONLY,
    ConnectionState.DRAINING: (ConnectionState.ENDING, ConnectionState.CLOSED),
    ConnectionState.ENDING: _CLOSED_ONLY,
    ConnectionState.CLOSED: (),
}
