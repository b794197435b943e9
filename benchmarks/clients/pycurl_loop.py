"""Posts the records with pycurl: one easy handle per connection in one multi handle."""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import loop
import pycurl


def _handle(job: loop.Job) -> pycurl.Curl:
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, job.url)
    handle.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in loop.HEADERS.items()])
    handle.setopt(pycurl.WRITEFUNCTION, len)
    if job.cacert:
        handle.setopt(pycurl.CAINFO, job.cacert)
    return handle


def main(job: loop.Job) -> None:
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, job.connections)
    records = iter(job.records)
    statuses: list[int] = []

    def send_next(handle: pycurl.Curl) -> None:
        record = next(records, None)
        if record is not None:
            handle.setopt(pycurl.POSTFIELDS, record)
            multi.add_handle(handle)

    started = loop.start()
    handles = [_handle(job) for _ in range(job.connections)]
    for handle in handles:
        send_next(handle)
    while len(statuses) < len(job.records):
        multi.perform()
        _, answered, broken = multi.info_read()
        for handle in answered:
            multi.remove_handle(handle)
            statuses.append(handle.getinfo(pycurl.RESPONSE_CODE))
            send_next(handle)
        for handle, _, _ in broken:
            multi.remove_handle(handle)
            statuses.append(0)
            send_next(handle)
        if not answered and not broken:
            multi.select(1.0)
    loop.finish(started, statuses)


main(loop.job())
