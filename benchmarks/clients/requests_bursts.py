"""Posts what comes on stdin with requests: one thread per connection over one Session."""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import threading

import bursts
import loop
import requests
from requests.adapters import HTTPAdapter


def main(job: bursts.Job) -> None:
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=job.connections))
    statuses: list[int] = []

    def post_all() -> None:
        while (record := job.records.get()) is not bursts.END:
            try:
                answer = session.post(job.url, data=record, headers=loop.HEADERS)
                statuses.append(int(answer.status_code))
            except requests.RequestException:
                statuses.append(0)

    started = loop.start()
    threads = [threading.Thread(target=post_all) for _ in range(job.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop.finish(started, statuses)


main(bursts.job())
