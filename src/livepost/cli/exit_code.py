"""The exit codes, and which one a run earns."""

from __future__ import annotations

import enum
import signal

from livepost.deliver import Result
from livepost.errors import DialError


class ExitCode(enum.IntEnum):
    """What a finished `livepost send` tells the shell."""

    DELIVERED = 0
    """Every record was delivered."""
    NOT_ALL_DELIVERED = 1
    """The run finished; some records were rejected or are in doubt."""
    TOO_MANY_HANDSHAKES = NOT_ALL_DELIVERED
    """The run finished, with more handshakes than --max-handshakes-per-1000: the same code."""
    USAGE = 2
    """The command or its configuration is wrong; nothing was sent."""
    UNREACHABLE = 3
    """No connection to the target was ever made; nothing was sent."""
    STOPPED_EARLY = 75
    """The run ended before its input did, records are left unsent, or the output could not be written."""


def exit_code(
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
