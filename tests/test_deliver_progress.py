from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from server_process import unused_port
from whole_runs import BRIEF, IMPATIENT, FakeProgress, answer_with, counts, numbers, options, run

from livepost.config import InputOptions
from livepost.deliver import Delivery
from livepost.records.source import FileSource
from livepost.rehearsal.reply import SILENCE, Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer


def test_progress_is_shown_while_the_run_lasts() -> None:
    async def main() -> None:
        aborted_at: list[int] = []

        def on_tick(number: int) -> None:
            if number >= 3 and progress.snapshots[-1].finished == 2:
                aborted_at.append(number)
                delivery.abort()

        progress = FakeProgress(0.001, on_tick)
        async with PracticeServer(respond=answer_with(None, None, SILENCE)) as server:
            delivery = Delivery(numbers(5), options(f"{server.url}/api", 1), progress=progress)
            result = await delivery.run()
        assert counts(result) == (2, 0, 1, 2)
        assert progress.calls == ["start", "stop"]
        assert [len(progress.snapshots)] == aborted_at
        last = progress.snapshots[-1]
        assert (last.opened, last.fraction) == (1, None)
        assert last.seconds > 0

    run(main())


def test_the_fraction_is_of_what_has_ended_however_far_it_was_read_ahead(tmp_path: Path) -> None:
    file = tmp_path / "users.ndjson"
    file.write_bytes(b"1\n2\n3\n4\n")

    async def main() -> None:
        def stop_after_two(number: int) -> None:
            if progress.snapshots[-1].finished == 2:
                delivery.abort()

        progress = FakeProgress(0.001, stop_after_two)
        source = FileSource([str(file)], InputOptions())
        source.check()
        async with PracticeServer(respond=answer_with(None, None, SILENCE)) as server:
            delivery = Delivery(source, options(f"{server.url}/api", 1), progress=progress)
            await delivery.run()
        by_finished = {snapshot.finished: snapshot.fraction for snapshot in progress.snapshots}
        assert by_finished[2] == 0.5
        assert by_finished.items() <= {0: 0.0, 1: 0.25, 2: 0.5}.items()

    run(main())


@pytest.mark.parametrize("ending", ["answered", "unreachable", "cancelled"])
def test_progress_is_stopped_on_every_path(ending: str) -> None:
    async def main() -> None:
        progress = FakeProgress(None, lambda number: None)
        reply = SILENCE if ending == "cancelled" else None
        arrived = asyncio.Event()

        def respond(request: RequestSeen) -> Reply | None:
            arrived.set()
            return reply

        async with PracticeServer(respond=respond) as server:
            url = f"http://127.0.0.1:{unused_port()}/" if ending == "unreachable" else f"{server.url}/api"
            delivery = Delivery(numbers(1), options(url, 1, pace=BRIEF), progress=progress, policy=IMPATIENT)
            task = asyncio.create_task(delivery.run())
            if ending == "cancelled":
                await arrived.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                await task
        assert progress.calls == ["start", "stop"]
        assert progress.snapshots == []

    run(main())
