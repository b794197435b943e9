"""`livepost probe` as a process, against servers that other people wrote, with their limits shortened."""

from __future__ import annotations

import json
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from command import livepost, started
from nginx import nginx
from real_servers import apache, node
from terminal import Terminal

from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.server import PracticeServer

LATE_SECONDS = 0.4


def probed(*arguments: object) -> Any:
    ended = livepost("probe", *arguments, "--max-wait", "3s", "--progress", "none", "--json")
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)


def flags(found: Any) -> list[str]:
    return [advice["flag"] for advice in found["recommendation"]["advice"]]


@pytest.mark.parametrize("version", ["--http1.1", "h2"])
def test_nginx_is_found_out(authority: Authority, tmp_path: Path, version: str) -> None:
    limits: dict[str, Any] = {"keepalive_requests": 20, "keepalive_timeout": "1s 7s", "http2": True}
    with nginx(tmp_path, authority.issue_files(), **limits) as server:
        given = [version] if version.startswith("-") else []
        found = probed(server.tls_url, "--cacert", authority.ca_file, *given)
    assert found["troubles"] == []
    assert found["contact"]["server"].startswith("nginx")
    assert (found["contact"]["method"], found["contact"]["status"]) == ("HEAD", 201)
    assert found["idle"]["limit_seconds"] == pytest.approx(1.0, abs=LATE_SECONDS)
    assert (found["cap"]["cap"], found["cap"]["ending"]) == (20, "announced")
    # It says 7 s to everyone, and means 1 s.
    assert found["keep_alive_hint"] == {"timeout_seconds": 7.0, "max_requests": None}
    assert any("says 7 s, but closes after" in note for note in found["recommendation"]["notes"])
    tls = found["tls"]
    assert (tls["version"], tls["alpn"]) == ("TLSv1.3", "h2" if version == "h2" else "http/1.1")
    assert all(one["is_offered"] for one in tls["handshakes"])
    assert tls["handshakes"][0]["resumes"] is True
    assert tls["certificate"]["is_verified"] is True
    assert abs(found["clock_skew"]["seconds"]) <= found["clock_skew"]["uncertainty_seconds"] + 0.1
    if version == "h2":
        assert found["http2_settings"]["max_concurrent_streams"] == 128
        assert (found["pings"]["reset_idle_timer"], found["pings"]["are_borne"]) == (False, True)
        assert "--connections 100" in flags(found)
    else:
        assert found["http2_settings"] is found["pings"] is None
    assert flags(found)[1:] == ["--keepalive-path /"]


def test_apache_is_found_out(tmp_path: Path) -> None:
    with apache(tmp_path, keepalive_timeout=1) as server:
        found = probed(server.url)
    assert found["troubles"] == []
    assert found["keep_alive_hint"] == {"timeout_seconds": 1.0, "max_requests": 100}
    assert found["idle"]["limit_seconds"] == pytest.approx(1.0, abs=LATE_SECONDS)
    assert found["cap"]["cap"] == 101
    assert found["is_http2_without_tls"] is False
    assert any("9.9 handshakes per 1,000 records" in note for note in found["recommendation"]["notes"])


def test_node_is_found_out(tmp_path: Path) -> None:
    with node(tmp_path, keepalive_milliseconds=1_000) as server:
        found = probed(server.url)
    assert found["troubles"] == []
    assert found["keep_alive_hint"] == {"timeout_seconds": 1.0, "max_requests": None}
    # Node lets a connection live somewhat longer than it says.
    assert 0.9 < found["idle"]["limit_seconds"] < 3
    assert (found["cap"]["cap"], found["cap"]["answered"]) == (None, 1_100)


def test_what_is_recommended_keeps_a_connection_through_a_pause_longer_than_the_idle_limit() -> None:
    with PracticeServer(limits=ServerLimits(idle_timeout=2.5)).run_in_thread() as server:
        found = probed(f"{server.url}/api")
        words = shlex.split(found["recommendation"]["command"])
        assert words[:3] == ["livepost", "send", "FILE..."]
        with started("send", "-", *words[3:], "--json", "--progress", "none") as send:
            send.write(b"1\n")
            time.sleep(4.0)
            send.write(b"2\n")
            send.end_input()
            ended = send.ended()
    assert (ended.code, ended.err) == (0, "")
    assert ended.summary["records"]["delivered"] == 2
    connections = ended.summary["connections"]
    assert (connections["opened"], connections["closed"]) == (1, {"finished": 1})
    assert connections["heartbeats"] >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_shows_what_is_known_so_far(number: signal.Signals) -> None:
    with PracticeServer().run_in_thread() as server, Terminal(100) as terminal:
        with started(
            "probe", f"{server.url}/api", stderr=terminal.descriptor, variables={"TERM": "xterm"}
        ) as probe:
            terminal.started()
            terminal.wait_for("open after")
            probe.signal(number)
            terminal.wait_for_end()
            ended = probe.ended()
        shown = terminal.lines
    assert ended.code == 128 + number
    assert any("connections open after" in line and "2 min 10 s" in line for line in shown)
    assert any("Ctrl-C" in line for line in shown)
    assert f"livepost: {number.name}: this is what is known so far" in shown
    assert "idle limit    not seen within" in ended.out
    assert "keep-alive    works" in ended.out
