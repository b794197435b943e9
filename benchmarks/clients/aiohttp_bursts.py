"""Posts what comes on stdin with aiohttp: one task per connection over one ClientSession."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio

import aiohttp
import bursts
import loop


async def main(job: bursts.Job) -> None:
    records: asyncio.Queue[bytes | None] = asyncio.Queue()
    running = asyncio.get_running_loop()

    def pass_on() -> None:
        for _ in range(job.connections):
            while (record := job.records.get()) is not bursts.END:
                running.call_soon_threadsafe(records.put_nowait, record)
            running.call_soon_threadsafe(records.put_nowait, bursts.END)

    async def post_all() -> None:
        while (record := await records.get()) is not bursts.END:
            try:
                async with session.post(job.url, data=record, headers=loop.HEADERS) as answer:
                    await answer.read()
                    statuses.append(answer.status)
            except (aiohttp.ClientError, TimeoutError):
                statuses.append(0)

    started = loop.start()
    statuses: list[int] = []
    connector = aiohttp.TCPConnector(limit=job.connections)
    async with aiohttp.ClientSession(connector=connector) as session:
        passing_on = running.run_in_executor(None, pass_on)
        await asyncio.gather(*(post_all() for _ in range(job.connections)))
        await passing_on
    loop.finish(started, statuses)


asyncio.run(main(bursts.job()))
