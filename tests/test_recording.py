from __future__ import annotations

import asyncio
import json
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from whole_runs import Log, counts, options, run

from livepost.deliver import Delivery
from livepost.errors import InputError, LivepostError, OutputError
from livepost.mark import DELIVERED, IN_DOUBT, IN_FLIGHT, REJECTED, UNSENT
from livepost.model import Record, Rejection
from livepost.recording import LetterSource, RecordedSource, Recording
from livepost.records.source import ObjectSource
from livepost.rehearsal.reply import HANG_UP, SILENCE, Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer
from livepost.runs.resumption import Resumption
from livepost.runs.run import Run
from livepost.wire.message import Response

Item = Record | Rejection


def record(number: int) -> Record:
    return Record(number, b'{"n":%d}' % number, "-", number)


class FakeSource:
    """Gives the batches it was made of, then raises `error` if there is one."""

    bytes_total = 100
    bytes_read = 40

    def __init__(self, *batches: list[Item], error: Exception | None = None) -> None:
        self.was_closed = False
        self._batches = batches
        self._error = error

    def batches(self) -> Generator[list[Item], None, None]:
        try:
            yield from self._batches
            if self._error is not None:
                raise self._error
        finally:
            self.was_closed = True


@pytest.fixture
def new_run(tmp_path: Path) -> Iterator[Run]:
    run = Run.create(tmp_path / "run", {})
    yield run
    run.close()


def letters(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def test_records_are_reserved_before_they_are_handed_over(new_run: Run) -> None:
    source = RecordedSource(FakeSource([record(1), record(2)], [], [record(3)]), new_run)
    assert (source.bytes_total, source.bytes_read) == (100, 40)
    reserved = []
    for batch in source.batches():
        assert new_run.states.reserved >= batch[-1].number
        reserved.append([item.number for item in batch])
    assert reserved == [[1, 2], [3]]
    assert new_run.manifest.records == 3


def test_an_input_without_records_has_none(new_run: Run) -> None:
    assert list(RecordedSource(FakeSource(), new_run).batches()) == []
    assert new_run.manifest.records == 0


def test_an_input_that_breaks_is_not_known_to_have_ended(new_run: Run) -> None:
    source = FakeSource([record(1)], error=InputError("damaged"))
    with pytest.raises(InputError, match="damaged"):
        list(RecordedSource(source, new_run).batches())
    assert new_run.manifest.records is None
    assert source.was_closed


def test_nor_is_one_that_was_left_early(new_run: Run) -> None:
    source = FakeSource([record(1)], [record(2)])
    batches = RecordedSource(source, new_run).batches()
    next(batches)
    batches.close()
    assert source.was_closed
    assert new_run.manifest.records is None


def test_what_an_earlier_process_has_settled_is_left_out(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    run.reserve([record(1), record(2), record(3)])
    run.states.marks[1] = run.states.marks[2] = DELIVERED
    run.close()
    run = Run.open(tmp_path / "run")
    source = FakeSource([record(1), record(2)], [record(3), record(4)])
    recorded = RecordedSource(source, run, Resumption(run, resend=False))
    assert list(recorded.batches()) == [[record(3), record(4)]], "and no batch is empty"
    assert run.manifest.records == 4
    run.close()


class MeasuredSource(FakeSource):
    """Each record is 10 bytes."""

    def __init__(self, *batches: list[Item]) -> None:
        super().__init__(*batches)
        self.bytes_total = 10 * sum(map(len, batches))
        self.bytes_read = 0

    def batches(self) -> Generator[list[Item], None, None]:
        for batch in super().batches():
            self.bytes_read += 10 * len(batch)
            yield batch


def passed_over(
    tmp_path: Path, delivered: set[int], batches: int, *, resend: bool
) -> list[tuple[list[int], float, float]]:
    """What a resumed run yields, and how many bytes were and will be passed over then.

    Four records a batch; those were delivered before, and the third was in flight.
    """
    items: list[list[Item]] = [[record(4 * batch + n) for n in range(1, 5)] for batch in range(batches)]
    run = Run.create(tmp_path / "run", {})
    run.reserve(items[-1])
    for number in delivered:
        run.states.marks[number] = DELIVERED
    run.states.marks[3] = IN_FLIGHT
    run.close()
    with closing(Run.open(tmp_path / "run")) as run:
        source = RecordedSource(MeasuredSource(*items), run, Resumption(run, resend=resend))
        assert (source.bytes_passed_over, source.bytes_to_pass_over) == (0, 0)
        return [
            ([item.number for item in batch], source.bytes_passed_over, source.bytes_to_pass_over)
            for batch in source.batches()
        ]


def test_it_is_known_how_much_of_an_input_is_only_passed_over(tmp_path: Path) -> None:
    """That which was in flight, and may have been processed, too."""
    assert passed_over(tmp_path, {1, 2, 5, 6, 7, 8, 9, 10, 12}, 4, resend=False) == [
        ([4], 30, 70),
        ([11], 100, 0),
        ([13, 14, 15, 16], 100, 0),
    ]


def test_what_is_sent_again_is_not_passed_over(tmp_path: Path) -> None:
    assert passed_over(tmp_path, {1, 2, 6}, 2, resend=True) == [([3, 4], 20, 10), ([5, 7, 8], 30, 0)]


def test_the_end_of_what_was_kept_of_an_input_is_not_its_end(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {}, keep_input=True)
    run.reserve([record(1)])
    run.close()
    run = Run.open(tmp_path / "run")
    assert list(RecordedSource(FakeSource([record(1)]), run).batches()) == [[record(1)]]
    assert run.manifest.records is None
    run.close()


def test_an_end_is_kept_with_what_the_server_said(new_run: Run, tmp_path: Path) -> None:
    errors: list[LivepostError] = []
    recording = Recording(new_run, errors.append)
    new_run.reserve([record(1), record(2)])
    recording.conclude(REJECTED, record(1), "status 404", 1, Response(404, (), b"nobody"))
    recording.conclude(IN_DOUBT, record(2), "no answer", 3, None)
    assert bytes(recording.marks[1:3]) == bytes((REJECTED, IN_DOUBT))
    recording.flush()
    (rejected,) = letters(tmp_path / "run" / "rejected.ndjson")
    assert (rejected["status"], rejected["answer"], rejected["attempts"]) == (404, "nobody", 1)
    (doubtful,) = letters(tmp_path / "run" / "in-doubt.ndjson")
    assert (doubtful["reason"], doubtful["status"], doubtful["attempts"]) == ("no answer", None, 3)
    assert errors == []


def test_what_cannot_be_kept_ends_the_run(new_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise OutputError("the disk is full")

    errors: list[LivepostError] = []
    recording = Recording(new_run, errors.append)
    new_run.reserve([record(1)])
    with monkeypatch.context() as patch:
        patch.setattr(new_run.letters, "write", fail)
        recording.conclude(REJECTED, record(1), "status 404", 1, None)
        patch.setattr(new_run.letters, "flush", fail)
        recording.flush()
    assert [str(error) for error in errors] == ["the disk is full"] * 2
    assert recording.marks[1] == REJECTED, "that it was rejected is known all the same"


REPLIES = {b"4": Reply(404, body=b"nobody"), b"5": HANG_UP}


def delivery_of(source: RecordedSource, server: PracticeServer, kept: Run, *observers: Log) -> Delivery:
    """To that server over one connection, kept in that run."""
    delivery = Delivery(source, options(f"{server.url}/api", 1), observers=observers, run_id=kept.manifest.id)
    delivery.record_in(kept)
    return delivery


def respond(request: RequestSeen) -> Reply | None:
    """The fourth is not found, the fifth gets no answer."""
    return REPLIES.get(request.body)


def test_a_whole_run_leaves_a_mark_for_each_record(tmp_path: Path) -> None:
    async def main() -> None:
        kept = Run.create(tmp_path / "run", {})
        source = RecordedSource(ObjectSource([1, 2, b"no JSON", 4, 5, 6]), kept)
        async with PracticeServer(respond=respond) as server:
            result = await delivery_of(source, server, kept).run()
        assert counts(result) == (3, 2, 1, 0)
        marks = (DELIVERED, DELIVERED, REJECTED, REJECTED, IN_DOUBT, DELIVERED)
        assert bytes(kept.states.marks[1:7]) == bytes(marks)
        assert kept.manifest.records == 6
        kept.close()
        rejected = letters(tmp_path / "run" / "rejected.ndjson")
        assert [(letter["n"], letter["status"]) for letter in rejected] == [(3, None), (4, 404)]
        (doubtful,) = letters(tmp_path / "run" / "in-doubt.ndjson")
        assert (doubtful["n"], doubtful["record"], doubtful["attempts"]) == (5, 5, 1)

    run(main())


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    async def main() -> None:
        seen: list[int] = []
        path = tmp_path / "run"
        kept = Run.create(path, {})
        source = RecordedSource(ObjectSource(range(1, 21)), kept)

        def on_call(words: str) -> None:
            if len(log.told) == 7:
                delivery.stop()

        log = Log(on_call)
        async with PracticeServer(on_request=lambda request: seen.append(int(request.body))) as server:
            delivery = delivery_of(source, server, kept, log)
            assert counts(await delivery.run()) == (7, 0, 0, 13)
            assert bytes(kept.states.marks[1:21]) == bytes((DELIVERED,) * 7 + (UNSENT,) * 13)
            kept.close()
            kept = Run.open(path)
            source = RecordedSource(ObjectSource(range(1, 21)), kept, Resumption(kept, resend=False))
            result = await delivery_of(source, server, kept).run()
            assert counts(result) == (13, 0, 0, 0)
            kept.close()
        assert seen == list(range(1, 21)), "each once, and in order on one connection"

    run(main())


def test_a_disk_that_is_full_ends_a_run_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise OutputError("the disk is full")

    async def main() -> None:
        kept = Run.create(tmp_path / "run", {})
        source = RecordedSource(ObjectSource(range(1, 21)), kept)
        async with PracticeServer(respond=respond) as server:
            with monkeypatch.context() as patch:
                patch.setattr(kept.letters, "write", fail)
                result = await delivery_of(source, server, kept).run()
        assert str(result.error) == "the disk is full"
        assert counts(result) == (3, 1, 0, 16), "the one that could not be written is told and marked"
        marks = bytes((DELIVERED,) * 3 + (REJECTED,) + (UNSENT,) * 16)
        assert bytes(kept.states.marks[1:21]) == marks
        kept.close()

    run(main())


def test_letters_can_be_read_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepost.deliver._FLUSH_SECONDS", 0.01)

    async def main() -> None:
        kept = Run.create(tmp_path / "run", {})
        file = tmp_path / "run" / "rejected.ndjson"
        found: list[int] = []

        def on_tick() -> None:
            found.extend(letter["n"] for letter in letters(file))
            if found:
                delivery.abort()
            else:
                asyncio.get_running_loop().call_later(0.005, on_tick)

        async with PracticeServer(respond=lambda request: REPLIES.get(request.body, SILENCE)) as server:
            source = RecordedSource(ObjectSource([4, 1]), kept)
            delivery = delivery_of(source, server, kept)
            asyncio.get_running_loop().call_soon(on_tick)
            assert counts(await delivery.run()) == (0, 1, 1, 0)
        assert found == [1]
        kept.close()

    run(main())


def test_what_is_in_doubt_stays_so_while_it_is_sent_again(tmp_path: Path) -> None:
    with closing(Run.create(tmp_path / "run", {})) as run:
        run.reserve([record(1), record(2)])
        run.conclude(REJECTED, record(1), "status 422", attempts=1)
        run.conclude(IN_DOUBT, record(2), "timeout", attempts=1)
        run.flush()
        assert list(LetterSource(run, [REJECTED, IN_DOUBT]).batches()) == [[record(1)], [record(2)]]
        assert bytes(run.states.marks[1:3]) == bytes((UNSENT, IN_FLIGHT))


def test_what_ends_in_doubt_when_it_is_sent_again_is_not_sent_once_more(tmp_path: Path) -> None:
    with closing(Run.create(tmp_path / "run", {})) as run:
        run.reserve([record(1), record(2)])
        run.conclude(REJECTED, record(1), "status 422", attempts=1)
        run.conclude(IN_DOUBT, record(2), "timeout", attempts=1)
        run.flush()
        batches = LetterSource(run, [REJECTED, IN_DOUBT]).batches()
        assert next(batches) == [record(1)]
        run.conclude(IN_DOUBT, record(1), "no answer", attempts=1)
        run.flush()
        assert list(batches) == [[record(2)]]
        assert run.states.marks[1] == IN_DOUBT
