"""Posts the records with aiohttp: one task per connection over one ClientSession."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

import aiohttp
import loop


async def _post_all(
    session: aiohttp.ClientSession, url: str, records: Iterator[bytes], statuses: list[int]
) -> None:
    for record in records:
        try:
            async with session.post(url, data=record, headers=loop.HEADERS) as answer:
                await answer.read()
                statuses.append(answer.status)
        except aiohttp.ClientError:
            statuses.append(0)


async def main(job: loop.Job) -> None:
    trust = ssl.create_default_context(cafile=job.cacert) if job.cacert else True
    connector = aiohttp.TCPConnector(limit=job.connections, ssl=trust)
    async with aiohttp.ClientSession(connector=connector) as session:
        started = loop.start()
        statuses: list[int] = []
        records = iter(job.records)
        await asyncio.gather(
            *(_post_all(session, job.url, records, statuses) for _ in range(job.connections))
        )
        loop.finish(started, statuses)


asyncio.run(main(loop.job()))
