"""A delivery on the command line: signals, receipts and the run directory meanwhile, the summary after."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

from livepost.cli import event_loop
from livepost.cli.earned_code import earned_code
from livepost.cli.exit_code import ExitCode
from livepost.cli.handshake_limit import too_many_handshakes
from livepost.cli.interrupts import Interrupts
from livepost.cli.standing import Standing, quoted
from livepost.cli.talk import print_data, say, say_error
from livepost.config import DeliveryOptions, ShowOptions
from livepost.deliver import Delivery, Result
from livepost.errors import ConfigurationError, LivepostError, OutputError
from livepost.model import State
from livepost.records.source import Source
from livepost.report.progress import make_progress
from livepost.report.receipts import Receipts
from livepost.report.summary import summarize
from livepost.report.tally import Tally
from livepost.runs.listing import is_part_of_run
from livepost.runs.run import DEFAULT_PARENT, Run

FINISHED = "finished"
"""How a run has ended that nothing stopped, and that left nothing unsent."""

_FLUSH_SECONDS = 1.0


class Session:
    """One delivery, from options that make sense to an exit code.

    `inputs` are files that the receipts must not overwrite.  Where it `continues` a run, the receipts of the
    earlier part stay.  Raises ConfigurationError; nothing is
    written then.  Call `record_in` if there is a run directory, and then `carry_out`.
    """

    def __init__(
        self,
        source: Source,
        options: DeliveryOptions,
        show: ShowOptions,
        *,
        run_id: UUID | None = None,
        inputs: Sequence[str] = (),
        continues: bool = False,
    ) -> None:
        self._show = show
        self._max_handshakes_per_1000 = options.liveness.max_handshakes_per_1000
        order = options.order
        self._stops_behind_failure = order.keeps_order and order.on_key_failure == "stop"
        progress = make_progress(_progress_mode(show), sys.stderr)
        self._delivery = Delivery(source, options, run_id=run_id, progress=progress)
        self._receipts = _open_receipts(show.receipts, inputs, continues=continues)
        if self._receipts is not None:
            self._delivery.observe(self._receipts)
        self._run: Run | None = None
        self.standing: Standing | None = None
        """How the run stands, once it was carried out; None without a run directory."""

    def record_in(self, run: Run, source: Source | None = None) -> None:
        """Keep in this directory how records end; `source` in place of the one given before."""
        self._run = run
        self._delivery.record_in(run, source)

    def carry_out(self) -> int:
        """Deliver everything, show what came of it, and close all files; return the exit code."""
        errors: list[LivepostError] = []
        try:
            result, stopped_by = event_loop.run(_deliver(self._delivery, self._receipts))
        finally:
            errors += _close(self._receipts)
            if sys.exception() is not None:
                _close(self._run)
        excess = too_many_handshakes(result.summary.connections, self._max_handshakes_per_1000)
        code = earned_code(result, stopped_by, has_too_many_handshakes=excess is not None)
        if self._run is not None:
            errors += _attempt(lambda: self._end_run(result, stopped_by))
            errors += _close(self._run)
        errors += _attempt(lambda: self._show_result(result, excess))
        if not errors:
            return code
        say_error(errors[0])
        return code if stopped_by else ExitCode.STOPPED_EARLY

    def _end_run(self, result: Result, stopped_by: signal.Signals | None) -> None:
        assert self._run is not None
        self.standing = Standing.of(self._run)
        # First, because a run that has finished is not looked at for letters that are missing.
        self._run.flush()
        self._run.end(_how(result, stopped_by, self.standing), self.standing.as_dict())

    def _show_result(self, result: Result, excess: LivepostError | None) -> None:
        """The summary, as data or to a person, and what went wrong with the run.  Raises OutputError."""
        standing = self.standing
        try:
            if self._show.json:
                print_data(result.summary.to_json())
            else:
                say(result.summary.to_text(terminal_width()))
                _say_troubles(result, standing)
        finally:
            for warning in result.warnings:
                say(f"livepost: {warning}")
            for error in (result.error, excess):
                if error is not None:
                    say_error(error)
            # Else only one whose tries are used up is left unsent, and that stops its order, too.
            is_whole = result.error is None and not result.was_stopped
            if is_whole and self._stops_behind_failure and result.summary.records.unsent:
                say("livepost: what comes in order after a record that was not delivered is left unsent")
                say("  hint: --on-key-failure skip goes past it")
            if standing is not None and self._run is not None and self._run.was_resumed:
                say(f"livepost: the whole run: {standing}")
            if standing is not None and _can_go_on(result, standing):
                say(f"livepost: to go on: livepost resume {quoted(standing.path)}")


def _how(result: Result, stopped_by: signal.Signals | None, standing: Standing) -> str:
    if stopped_by is not None:
        return f"stopped by {stopped_by.name}"
    if result.error is not None:
        return str(result.error)
    return "records were left unsent" if _can_go_on(result, standing) else FINISHED


def _can_go_on(result: Result, standing: Standing) -> bool:
    """Something is left that `resume` would send or settle."""
    unsent = result.summary.records.unsent or standing.unsent or standing.counts.in_flight
    return bool(unsent) or not result.read_to_end or standing.has_more_input


def _progress_mode(show: ShowOptions) -> str:
    """As asked for, but no bar among receipts on the same terminal."""
    shares_terminal = show.receipts == "-" and os.isatty(2) and _is_same(_status(1), _status(2))
    return "plain" if shares_terminal and show.progress != "none" else show.progress


def _open_receipts(path: str | None, inputs: Sequence[str], *, continues: bool) -> Receipts | None:
    """Refuses to overwrite an input, which would be emptied before it is read, or a run."""
    if path is None:
        return None
    if path != "-" and is_part_of_run(path):
        raise ConfigurationError(
            f"the receipts would overwrite {path}, which belongs to a run", "give -o the name of another file"
        )
    output = _status(1 if path == "-" else path)
    for name in inputs:
        if _is_same(_status(0 if name == "-" else name), output, only_files=True):
            raise ConfigurationError(
                f"the receipts would overwrite the input {name}", "give -o the name of another file"
            )
    return Receipts(path, continues=continues)


def _status(file: str | int) -> os.stat_result | None:
    try:
        return os.stat(file)
    except OSError:
        return None


def _is_same(one: os.stat_result | None, other: os.stat_result | None, *, only_files: bool = False) -> bool:
    if one is None or other is None or (only_files and not stat.S_ISREG(one.st_mode)):
        return False
    return os.path.samestat(one, other)


async def _deliver(delivery: Delivery, receipts: Receipts | None) -> tuple[Result, signal.Signals | None]:
    def on_first(number: signal.Signals) -> None:
        delivery.stop()
        say(f"livepost: {number.name}: waiting for what is in flight; once more stops at once")

    interrupts = Interrupts(on_first, delivery.abort)
    flushing = asyncio.create_task(_keep_flushing(receipts, delivery)) if receipts else None
    try:
        with interrupts.handled():
            result = await delivery.run()
            if receipts is not None and interrupts.received is not None:
                # Here, where a signal still ends it, in case nobody reads them.
                with contextlib.suppress(OutputError):
                    receipts.flush()
    finally:
        if flushing is not None:
            flushing.cancel()
    return result, interrupts.received


async def _keep_flushing(receipts: Receipts, delivery: Delivery) -> None:
    """So that `tail -f` shows receipts soon after they are written."""
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        try:
            receipts.flush()
        except OutputError as error:
            delivery.fail(error)


def _close(sink: Receipts | Run | None) -> list[LivepostError]:
    return [] if sink is None else _attempt(sink.close)


def _attempt(action: Callable[[], None]) -> list[LivepostError]:
    """Do it, and return what went wrong."""
    try:
        action()
    except LivepostError as error:
        return [error]
    return []


def _say_troubles(result: Result, standing: Standing | None) -> None:
    """What became of the first records that were not delivered, and where to see the others."""
    for trouble in result.troubles:
        say(f"livepost: {trouble}")
    records = result.summary.records
    shown = [trouble for trouble in result.troubles if trouble.state is not State.UNSENT]
    more = records.rejected + records.in_doubt - len(shown)
    if more > 0 and standing is None:
        say(f"livepost: and {more:,} more; -o FILE writes what became of every record")
    # Where its end was found in the last moment, or before, it is known how much is unsent.
    if not result.read_to_end and (standing is None or standing.records is None):
        say("livepost: the input was not read to its end")
    if standing is not None:
        for line in standing.where_the_rest_is():
            say(f"livepost: {line}")


def show_nothing_to_send(standing: Standing, show: ShowOptions, *, continues: bool = False) -> None:
    """What a delivery would show, and write, of a run that has nothing for it."""
    receipts = _open_receipts(show.receipts, (), continues=continues)
    if receipts is not None:
        receipts.close()
    if show.json:
        print_data(summarize(Tally(), read=0, seconds=0.0).to_json())
    say(f"livepost: run {standing.path}: {standing}")
    say("livepost: there is nothing to be sent")
    if not show.json:
        for line in standing.where_the_rest_is():
            say(f"livepost: {line}")


def terminal_width() -> int:
    """Columns of the terminal that stderr is, or the usual number."""
    return columns_of(2) or shutil.get_terminal_size().columns


def columns_of(descriptor: int) -> int | None:
    """None where it is no terminal, or one that does not know its size."""
    try:
        return os.get_terminal_size(descriptor).columns or None
    except OSError:
        return None


def named_run(text: str) -> Path:
    """The path of a run that should be there; the name that `livepost runs` shows will do."""
    path = run_path(text)
    by_name = DEFAULT_PARENT / path
    return by_name if path.name == text and not path.exists() and by_name.is_dir() else path


def run_path(text: str) -> Path:
    """The path of a run directory that was named."""
    if "\0" in text:
        raise ConfigurationError("the path of the run contains a NUL character", "give another path")
    return Path(text)
