"""Posts what comes on stdin with pycurl: one easy handle per connection in one multi handle."""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import queue

import bursts
import loop
import pycurl


def _handle(url: str) -> pycurl.Curl:
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, url)
    handle.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in loop.HEADERS.items()])
    handle.setopt(pycurl.WRITEFUNCTION, len)
    return handle


def main(job: bursts.Job) -> None:
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, job.connections)
    free = [_handle(job.url) for _ in range(job.connections)]
    statuses: list[int] = []
    has_ended = False

    def next_record() -> bytes | None:
        """Waits only while nothing is on its way."""
        nonlocal has_ended
        if has_ended:
            return None
        try:
            record = job.records.get(block=len(free) == job.connections)
        except queue.Empty:
            return None
        has_ended = record is bursts.END
        return record

    started = loop.start()
    while not has_ended or len(free) < job.connections:
        while free and (record := next_record()) is not None:
            handle = free.pop()
            handle.setopt(pycurl.POSTFIELDS, record)
            multi.add_handle(handle)
        multi.perform()
        _, answered, broken = multi.info_read()
        statuses += [handle.getinfo(pycurl.RESPONSE_CODE) for handle in answered]
        statuses += [0] * len(broken)
        for handle in (*answered, *(one[0] for one in broken)):
            multi.remove_handle(handle)
            free.append(handle)
        if len(free) < job.connections and not answered and not broken:
            multi.select(0.1)
    loop.finish(started, statuses)


main(bursts.job())
