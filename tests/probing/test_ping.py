from __future__ import annotations

import asyncio

import pytest
from probing_peers import http2, opener_to
from scripted_peer import Script, ScriptedPeer

from livepost.config import RouteOptions
from livepost.probing.findings import Pings
from livepost.probing.ping import PingMeasure


def measured(script: Script, max_wait: float, limit: float | None) -> Pings:
    async def main() -> Pings:
        async with ScriptedPeer(script) as peer:
            opener = opener_to(peer.url, route=RouteOptions(proxy="", http2_prior_knowledge=True))
            measure = PingMeasure(opener, opener.head("HEAD"), max_wait, lambda: limit)
            await measure.run()
            assert measure.troubles == []
            return measure.found()

    return asyncio.run(main())


@pytest.mark.parametrize("counts", [False, True])
def test_a_connection_with_pings_outlives_those_without_only_where_they_count(counts: bool) -> None:
    # PINGs after 0.1 and 0.3 s.
    pings = measured(http2(idle=0.4, ping_counts=counts), 0.6, 0.4)
    assert pings.reset_idle_timer is counts
    assert (pings.sent, pings.answered, pings.are_borne) == (2, 2, True)
    assert pings.seconds is not None
    assert 0 < pings.seconds < 0.3


def test_pings_become_rare() -> None:
    assert measured(http2(), 0.6, None).sent == 2


def test_where_no_limit_was_seen_nothing_is_known() -> None:
    pings = measured(http2(), 0.3, None)
    assert (pings.reset_idle_timer, pings.are_borne) == (None, True)


def test_a_server_that_takes_pings_for_an_attack_says_so() -> None:
    pings = measured(http2(idle=0.4, pings_borne=1), 0.6, 0.4)
    assert (pings.sent, pings.answered) == (2, 1)
    assert (pings.reset_idle_timer, pings.are_borne) == (None, False)
