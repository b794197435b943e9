"""`livepost serve` and `livepost send` as two processes."""

from __future__ import annotations

import json
import re
import signal
import urllib.request

import pytest
from command import livepost, started
from practice_stats import stats


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_practice_server_serves_until_a_signal_comes(number: signal.Signals) -> None:
    with started("serve", "--port", 0) as server:
        announced = server.read_err()
        url = re.search(r"http://127\.0\.0\.1:\d+", announced)
        assert url is not None
        ended = livepost(
            "send", "-", "--to", f"{url[0]}/api", "--connections", 2, "--json", stdin=b"1\n" * 200
        )
        assert (ended.code, ended.summary["records"]["delivered"]) == (0, 200)
        with urllib.request.urlopen(f"{url[0]}/stats") as answer:
            assert json.load(answer) == stats(2, 200)
        server.signal(number)
        stopped = server.ended()
    assert stopped.code == 0
    assert (stopped.out, stopped.err) == ("", "answered 200 requests on 2 connections\n")
