"""Notices when the server lets nobody in, before every record is rejected for it.

401, 403, 407 and 511 say little of a record and much of a credential that is wrong or has expired.  If
the first 20 records to end are all answered so, or 100 in a row later on, the run should stop: the rest
would fare no better, and can be resumed once the credential is right.  Later it takes more, for single
records may be forbidden, and such records may lie together.
"""

from __future__ import annotations

from livepost.errors import DestinationError

MOST_AT_START = 20
MOST_IN_A_ROW = 100

_HINTS = {
    401: "check the credentials: -H 'Authorization: …', or user and password in the URL",
    403: "check that these credentials may do this, and the URL",
    407: "the proxy wants credentials: give them with -x http://user:password@host:port",
    511: "the network wants a login first: open a web page in a browser",
}
DENIALS = frozenset(_HINTS)


class AccessWatch:
    """Counts denials.

    `passed` need only be called while `is_watching`.  `expected` are statuses that the user has said
    something about: they are no denial.
    """

    __slots__ = ("_denials", "_has_passed", "_in_a_row", "is_watching")

    def __init__(self, expected: frozenset[int] = frozenset()) -> None:
        self._denials = DENIALS - expected
        self._has_passed = False
        self._in_a_row = 0
        self.is_watching = True

    def passed(self) -> None:
        """A record was answered otherwise than by a denial."""
        self._has_passed = True
        self._in_a_row = 0
        self.is_watching = False

    def denied(self, status: int) -> DestinationError | None:
        """A record was rejected with this status: the error that should end the run, or None."""
        if status not in self._denials:
            self.passed()
            return None
        self._in_a_row += 1
        self.is_watching = True
        if self._in_a_row < (MOST_IN_A_ROW if self._has_passed else MOST_AT_START):
            return None
        which = "last" if self._has_passed else "first"
        return DestinationError(
            f"the server let none of the {which} {self._in_a_row} records in (status {status})",
            _HINTS[status],
        )
