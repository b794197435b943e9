"""Which exit code a run earns."""

from __future__ import annotations

import signal

from livepost.cli.exit_code import ExitCode
from livepost.deliver import Result
from livepost.errors import DialError


def earned_code(
    result: Result, stopped_by: signal.Signals | None, *, has_too_many_handshakes: bool = False
) -> int:
    """The code for a finished run; a signal that stopped it counts as 128 plus its number."""
    records = result.summary.records
    if stopped_by is not None:
        return 128 + stopped_by
    if isinstance(result.error, DialError) and not result.was_reached:
        return ExitCode.UNREACHABLE
    if result.error is not None or records.unsent:
        return ExitCode.STOPPED_EARLY
    if records.rejected or records.in_doubt:
        return ExitCode.NOT_ALL_DELIVERED
    if has_too_many_handshakes:
        return ExitCode.TOO_MANY_HANDSHAKES
    return ExitCode.DELIVERED
