"""Whole runs in which something on this side goes wrong: the input, an observer, the code of a dial."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from whole_runs import BRIEF, FakeProgress, Log, counts, numbers, options, run

from livepost.config import InputOptions
from livepost.deliver import deliver
from livepost.errors import InputError, OutputError
from livepost.net.dial import Dialed, Dialer
from livepost.records.source import FileSource, ObjectSource
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer


def raising(error: Exception, beginning: str) -> Callable[[str], None]:
    def on_call(words: str) -> None:
        if words.startswith(beginning):
            raise error

    return on_call


@pytest.mark.parametrize("beginning", ["1 delivered", "10 delivered", "11 rejected", "20 delivered"])
def test_receipts_that_cannot_be_written_end_the_run(beginning: str) -> None:
    async def main() -> None:
        source = ObjectSource([*range(1, 11), b"not JSON", *range(12, 21)])
        log = Log(raising(OutputError("the disk is full"), beginning))
        async with PracticeServer() as server:
            result = await deliver(source, options(f"{server.url}/api", 1), observers=[log])
            delivered, rejected, in_doubt, unsent = counts(result)
            number = int(beginning.split()[0])
            assert result.summary.records.read == 20
            assert (delivered, rejected, in_doubt) == (number - (number > 10), 1, 0)
            assert unsent == 20 - delivered - rejected
            assert server.stats.requests == delivered
            assert str(result.error) == "the disk is full"
            assert result.was_reached
            assert len({words.split()[0] for words in log.told}) == len(log.told) == 20

    run(main())


def test_any_other_error_of_an_observer_comes_out_of_the_run() -> None:
    async def main() -> None:
        log = Log(raising(ZeroDivisionError("mine"), "3 delivered"))
        progress = FakeProgress(None, lambda number: None)
        async with PracticeServer() as server:
            with pytest.raises(ZeroDivisionError, match="mine"):
                await deliver(
                    numbers(10), options(f"{server.url}/api", 1), observers=[log], progress=progress
                )
            assert server.stats.requests == 3
        assert log.told[3:] == [f"{number} unsent" for number in range(4, 11)]
        assert progress.calls == ["start", "stop"]

    run(main())


def test_what_came_before_damage_in_the_input_is_delivered(tmp_path: Path) -> None:
    lines = b"".join(b'{"n": %d}\n' % number for number in range(50_000))
    file = tmp_path / "users.ndjson.gz"
    file.write_bytes(gzip.compress(lines)[:8000])

    async def main() -> None:
        source = FileSource([str(file)], InputOptions())
        source.check()
        seen: list[RequestSeen] = []
        async with PracticeServer(on_request=seen.append) as server:
            result = await deliver(source, options(f"{server.url}/api"))
            delivered, *others = counts(result)
            assert delivered == server.stats.requests > 100
            assert others == [0, 0, 0]
        assert sorted(json.loads(request.body)["n"] for request in seen) == list(range(delivered))
        assert isinstance(result.error, InputError)
        assert "cut short" in str(result.error)
        assert result.was_reached

    run(main())


def test_what_the_source_raises_comes_out_after_what_came_before_it() -> None:
    def objects() -> Iterator[int]:
        yield from (1, 2, 3)
        raise ZeroDivisionError("mine")

    async def main() -> None:
        async with PracticeServer() as server:
            # One record a batch: what the iterable gave before it broke has been handed over.
            source = ObjectSource(objects(), batch_records=1)
            with pytest.raises(ZeroDivisionError, match="mine"):
                await deliver(source, options(f"{server.url}/api"))
            assert server.stats.requests == 3

    run(main())


def test_what_the_source_raises_comes_out_also_where_the_target_is_not_reached() -> None:
    def objects() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("mine")

    async def main() -> None:
        brief = options("http://127.0.0.1:1/", pace=BRIEF)
        with pytest.raises(ZeroDivisionError, match="mine"):
            await deliver(ObjectSource(objects()), brief)

    run(main())


@pytest.mark.parametrize("mine", [ZeroDivisionError("mine"), OutputError("mine")])
def test_an_unexpected_error_of_a_dial_comes_out_of_the_run(
    monkeypatch: pytest.MonkeyPatch, mine: Exception
) -> None:
    async def dial(self: Dialer) -> Dialed:
        raise mine

    monkeypatch.setattr(Dialer, "dial", dial)

    async def main() -> None:
        log = Log()
        coroutine = deliver(numbers(3), options("http://127.0.0.1:9/"), observers=[log])
        async with asyncio.timeout(10):
            if isinstance(mine, OutputError):
                assert (await coroutine).error is mine
            else:
                with pytest.raises(ZeroDivisionError, match="mine"):
                    await coroutine
        assert log.told == ["1 unsent", "2 unsent", "3 unsent"]

    run(main())
