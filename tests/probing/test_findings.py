from __future__ import annotations

import json

from probing_peers import NOW

from livepost.probing.findings import Ending, Findings, IdleConnection, IdleLimit, KeepAliveHint


def test_nothing_known_is_all_names_without_values() -> None:
    plain = Findings("http://one.test/", "/", NOW).as_dict()
    assert plain.pop("started") == "2026-11-25T12:00:00+00:00"
    assert plain == {
        "url": "http://one.test/",
        "path": "/",
        "seconds": 0.0,
        "is_complete": False,
        "via_proxy": None,
        "look_up": None,
        "connected_to": None,
        "contact": None,
        "tls": None,
        "is_http2_without_tls": None,
        "keep_alive_hint": None,
        "idle": None,
        "cap": None,
        "http2_settings": None,
        "pings": None,
        "round_trip": None,
        "clock_skew": None,
        "connections_opened": 0,
        "requests_sent": 0,
        "troubles": [],
    }


def test_values_of_every_kind_become_json() -> None:
    findings = Findings(
        *("http://one.test/", "/", NOW),
        keep_alive_hint=KeepAliveHint(5.0, None),
        idle=IdleLimit(5.0123456789, None, None, (IdleConnection(5.0, Ending.FIN),)),
        http2_settings={"max_concurrent_streams": 100},
        troubles=("one",),
    )
    plain = json.loads(json.dumps(findings.as_dict()))
    assert plain["keep_alive_hint"] == {"timeout_seconds": 5.0, "max_requests": None}
    assert plain["idle"] == {
        "limit_seconds": 5.012346,
        "survived_seconds": None,
        "dropped_within_seconds": None,
        "connections": [{"seconds": 5.0, "ending": "fin"}],
    }
    assert plain["http2_settings"] == {"max_concurrent_streams": 100}
    assert plain["troubles"] == ["one"]
