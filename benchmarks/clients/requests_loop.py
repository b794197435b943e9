"""Posts the records with requests, one after the other: over one Session, or each on its own."""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import sys
from collections.abc import Callable

import loop
import requests


def _status(post: Callable[..., requests.Response], job: loop.Job, record: bytes) -> int:
    try:
        return int(post(job.url, data=record, headers=loop.HEADERS, verify=job.cacert or True).status_code)
    except requests.RequestException:
        return 0


def main(session: bool) -> None:
    job = loop.job()
    post = requests.Session().post if session else requests.post
    started = loop.start()
    loop.finish(started, [_status(post, job, record) for record in job.records])


without_session = "--no-session" in sys.argv
if without_session:
    sys.argv.remove("--no-session")
main(session=not without_session)
