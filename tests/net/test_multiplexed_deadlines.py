"""Each exchange has its deadline, whatever else is written on its connection meanwhile."""

from __future__ import annotations

import dataclasses

from net_fakes import HEAD
from net_line import MakeLine
from server_ends import Http2End

from livepost.model import Sent


def test_a_body_that_is_released_postpones_no_other_deadline(make_line: MakeLine) -> None:
    line = make_line(end=Http2End(), max_time=60.0, response_header_timeout=10.0, expect_continue_timeout=1.0)
    line.greet()
    line.post(b"A")
    line.time.advance(1.0)
    line.post(b"B")
    line.time.advance(8.5)
    line.work._head = dataclasses.replace(HEAD, expect_continue=True)
    line.post(b"E")
    ends: list[tuple[bytes, float]] = []
    for _ in range(60):
        line.time.advance(0.25)
        ends += [(body, line.time.now - 1000.0) for body, _, _ in line.work.failures[len(ends) :]]
    # A at 0, B at 1; E at 9.5, whose body was written at 10.5.
    assert ends == [(b"A", 10.0), (b"B", 11.0), (b"E", 20.5)]
    assert {sent for _, sent, _ in line.work.failures} == {Sent.ALL}
    assert len(line.closed) == 1
