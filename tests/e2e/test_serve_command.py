"""`livepost serve` and `livepost send` as two processes."""

from __future__ import annotations

import json
import re
import signal
import urllib.request

import pytest
from command import livepost, started
from practice_stats import stats


@pytest.mark.parametrize(
    ("given", "remark", "skew"),
    [((), None, 0.0), (("--clock-skew=-1m",), "its clock is 1 min 0 s behind\n", -60.0)],
)
def test_the_clock_of_the_practice_server_can_be_probed(
    given: tuple[str, ...], remark: str | None, skew: float
) -> None:
    with started("serve", "--port", 0, "--idle-timeout", "200ms", *given) as server:
        url = re.search(r"http://127\.0\.0\.1:\d+", server.read_err())
        assert url is not None
        assert "idle 200ms" in server.read_err()
        if remark is not None:
            assert server.read_err() == remark
        probed = ("probe", f"{url[0]}/api", "--max-wait", "2s", "--no-memory", "--progress", "none", "--json")
        found = json.loads(livepost(*probed).out)
    assert abs(found["clock_skew"]["seconds"] - skew) <= found["clock_skew"]["uncertainty_seconds"] + 0.01
    assert any("behind this machine's" in note for note in found["recommendation"]["notes"]) is bool(skew)


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
