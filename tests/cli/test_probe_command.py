"""What `livepost probe` refuses, and where it writes; what it finds out is shown in tests/e2e."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from livepost.cli.main import main
from livepost.net.fact import Subject
from livepost.net.origin import Origin
from livepost.net.origin_memory import OriginMemory, cache_directory
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.server import PracticeServer
from livepost.target import parse_target

BRIEF = ("--max-wait", "1s", "--max-requests", "20", "--progress", "none")


@pytest.fixture(autouse=True)
def _without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer(limits=ServerLimits(idle_timeout=0.2)).run_in_thread() as running:
        yield running


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no URL is named"),
        (["localhost:8080"], "the URL has no scheme: localhost:8080"),
        (["http://x", "-X", "POST"], "a probe does not send 'POST'"),
        (["http://x", "--path", "health"], "--path does not begin with a slash"),
        (["http://x", "--max-wait", "0"], "max wait is 0.0"),
        (["http://x", "--max-wait", "long"], "argument --max-wait: 'long' is not a time"),
        (["http://x", "--max-requests", "0"], "max requests is 0"),
        (["http://x", "--http1.1", "--http2-prior-knowledge"], "--http1.1 and --http2-prior-knowledge"),
        (["http://x", "-H", "s3cret"], "-H number 1 is no header"),
        (["http://x", "--progress", "loud"], "there is no progress display loud"),
        (["http://x", "--idle-timeout", "5"], "there is no option --idle-timeout"),
        (["http://x", "-o", "file"], "there is no option -o"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["probe", *arguments]) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    first, second = shown.err.splitlines()
    assert first.startswith(f"livepost: {said}")
    assert second.startswith("  hint: ")
    assert "s3cret" not in shown.err


def test_what_cannot_be_reached_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "http://127.0.0.1:9/", "--json"]) == 3
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "livepost: 127.0.0.1:9 refused the connection",
        "  hint: is the server running, and is that its port?",
    ]


def test_findings_are_data(capfd: pytest.CaptureFixture[str], server: PracticeServer) -> None:
    assert main(["probe", f"{server.url}/api", *BRIEF]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[0] == f"{server.url}/api"
    assert max(map(len, (line for line in lines if not line.startswith("  ")))) <= 80
    assert any(line.startswith("idle limit") for line in lines)
    assert "recommended:" in lines


def test_and_as_json(capfd: pytest.CaptureFixture[str], server: PracticeServer) -> None:
    assert main(["probe", f"{server.url}/api", *BRIEF, "--json"]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    found = json.loads(shown.out)
    assert found["is_complete"] is True
    assert 0.1 < found["idle"]["limit_seconds"] < 0.5
    recommendation = found["recommendation"]
    assert set(recommendation) == {"command", "advice", "notes"}
    assert all(set(advice) == {"flag", "reason"} for advice in recommendation["advice"])
    flags = " ".join(advice["flag"] for advice in recommendation["advice"])
    assert recommendation["command"] == f"livepost send FILE... --to {server.url}/api {flags}"


def test_what_was_measured_is_kept_for_send_unless_the_user_does_not_want_it(
    capfd: pytest.CaptureFixture[str], server: PracticeServer
) -> None:
    directory = cache_directory(os.environ)
    assert directory is not None
    target = parse_target(f"{server.url}/api")
    memory = OriginMemory(directory, time.time, print)
    assert main(["probe", str(target), *BRIEF, "--no-memory"]) == 0
    out = capfd.readouterr().out
    assert " --no-memory " in out
    # A send that remembers nothing must be told.
    assert " --idle-timeout " in out
    assert memory.load(Origin.of(target)) == {}
    assert main(["probe", str(target), *BRIEF]) == 0
    out = capfd.readouterr().out
    assert " --no-memory" not in out
    assert " --idle-timeout " not in out
    assert 0.1 <= memory.load(Origin.of(target))[Subject.IDLE_LIMIT].value < 0.5


def test_what_was_given_and_is_needed_stands_in_the_command_but_no_secret(
    capfd: pytest.CaptureFixture[str], server: PracticeServer
) -> None:
    url = f"{server.url.replace('http://', 'http://u:s3cret@')}/api?key=s3cret"
    given = ("-H", "X-Key: s3cret", "--connect-timeout", "2500ms", "--max-time", "none", "--http1.1")
    times = ("--tls-handshake-timeout", "2000000", "--response-header-timeout", "1h")
    proxied = ("-x", "", "--resolve", "a.test:1:127.0.0.1", "--resolve", "b.test:1:127.0.0.1")
    assert main(["probe", url, *BRIEF, *given, *times, *proxied]) == 0
    out = capfd.readouterr().out
    assert "s3cret" not in out
    command = next(line for line in out.splitlines() if line.startswith("  livepost send"))
    assert command.startswith(
        f"  livepost send FILE... --to {server.url}/api --connect-timeout 2.5s --max-time none "
        "--tls-handshake-timeout 2000000s --response-header-timeout 3600s --http1.1 "
        "-x '' --resolve a.test:1:127.0.0.1 --resolve b.test:1:127.0.0.1 -H ... --connections "
    )


def test_a_proxy_with_a_password_is_left_for_the_user(
    capfd: pytest.CaptureFixture[str], server: PracticeServer
) -> None:
    proxy = server.url.replace("http://", "http://u:s3cret@")
    assert main(["probe", "http://a.test/api", *BRIEF, "-x", proxy]) == 0
    out = capfd.readouterr().out
    assert "s3cret" not in out
    assert "--to http://a.test/api -x ... --connections" in out


def test_help_tells_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["probe", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    for words in ("--max-wait TIME", "(default: 130 s)", "(default: 1100)", "--path PATH", "exit codes: 0"):
        assert words in out
    for words in ("--idle-timeout", "--output", "--expect-continue-timeout"):
        assert words not in out
