from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from livepost.cli import asked, resume, send
from livepost.cli.options import delivery_options
from livepost.config import DeliveryOptions
from livepost.errors import ConfigurationError, RunError

TO = "http://api.test/v1/users"


def kept(*arguments: str, to: str = TO) -> dict[str, Any]:
    """What `run.json` holds, read back."""
    given = send.make_parser().parse(["in.ndjson", "--to", to, *arguments])
    return json.loads(json.dumps(asked.keep(given)))  # type: ignore[no-any-return]


def restored(then: dict[str, Any], *arguments: str) -> argparse.Namespace:
    return asked.restore(then, resume.make_parser().parse(["DIR", *arguments]))


def refused(then: Any, *arguments: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        restored(then, *arguments)
    return f"{caught.value} / {caught.value.hint}"


def test_little_is_kept_where_little_was_asked() -> None:
    assert kept() == {"to": TO, "files": ["in.ndjson"], "options": {}, "withheld": []}


EVERYTHING = [
    *("-XPUT", "-H", "Content-Type: text/plain", "-H", "Accept:", "-H", "X-Empty;"),
    *("--success-on", "304", "--reject-on", "409", "--retry-on", "500", "-L"),
    *("--retry", "3", "--retry-max-time", "none"),
    *("--idempotency-key=X-Key", "--idempotency-key-format", "raw"),
    *("--at-least-once", "--rate", "5/s", "--max-retry-after", "1m", "--give-up-after", "none"),
    *("--start-timeout", "9", "--order-key", "/id", "--on-key-failure", "skip"),
    *("--connections", "7", "--max-idle", "3", "--no-keepalive", "--connect-timeout", "1", "-m", "500ms"),
    *("--idle-timeout", "2m", "--tls-handshake-timeout", "4s", "--response-header-timeout", "5"),
    *("--expect-continue-timeout", "6", "-k", "--cacert", "/ca", "--cert", "/cert", "--key", "/key"),
    *("--http1.1", "-x", "http://proxy:3128", "--resolve", "h:1:::1", "--resolve", "h:2:1.2.3.4"),
    *("--keepalive-path", "/health", "--keepalive-every", "auto", "--max-connection-age", "1h"),
    *("--max-handshakes-per-1000", "2.5", "--no-memory", "--max-in-doubt", "4"),
    *("--max-record-bytes", "1M", "--input-format", "json"),
]


def test_everything_that_was_asked_holds_again() -> None:
    given = send.make_parser().parse(["in.ndjson", "--to", TO, *EVERYTHING])
    then = kept(*EVERYTHING)
    assert set(then["options"]) == set(asked._OPTIONS) - {"unix_socket", "ordered", "http2_prior_knowledge"}
    again: DeliveryOptions = delivery_options(restored(then))
    assert again == delivery_options(given)
    assert then["withheld"] == []


def test_what_is_given_now_goes_before_what_was_asked_then() -> None:
    then = kept("--connections", "7", "--retry", "3", "-H", "Prefer: a", "-H", "Content-Type: text/plain")
    given = restored(then, "--connections", "2", "-H", "content-type: a/b", "-H", "X: 1")
    options = delivery_options(given)
    assert (options.limits.max_conns_per_host, options.retry.retry) == (2, 3)
    assert options.request.headers == ("Prefer: a", "content-type: a/b", "X: 1")
    assert (given.files, given.to) == (["in.ndjson"], TO)


SECRET = "s3cret"


@pytest.mark.parametrize(
    ("arguments", "withheld"),
    [
        (["-H", f"Authorization: Bearer {SECRET}"], ["-H Authorization"]),
        (["-H", f"X-Api-Key:{SECRET}"], ["-H X-Api-Key"]),
        (["--header", f"Cookie: a={SECRET};"], ["-H Cookie"]),
        (["-H", f"X-Token: {SECRET}:"], ["-H X-Token"]),
        (["-H", f"Referer: http://other.test/?token={SECRET}"], ["-H Referer"]),
        (["-H", f"Accept : {SECRET}"], ["-H Accept "]),
        (["-x", f"http://user:{SECRET}@proxy:3128"], ["-x"]),
        (["--proxy", f"user:{SECRET}@proxy:3128"], ["-x"]),
        (["--to", f"http://user:{SECRET}@api.test/v1/users"], ["a user in --to"]),
        (["--to", f"http://{SECRET}@api.test/v1/users"], ["a user in --to"]),
        (["--to", f"{TO}?token={SECRET}"], ["a query in --to"]),
        (["--to", f"http://u:{SECRET}@api.test/v1/users?t={SECRET}"], ["a user in --to", "a query in --to"]),
        (["--to", f"{TO}#{SECRET}"], []),
    ],
)
def test_what_may_hold_a_secret_is_not_kept_but_named(arguments: list[str], withheld: list[str]) -> None:
    then = kept(*arguments)
    assert SECRET not in json.dumps(then)
    assert then["withheld"] == withheld
    assert then["to"] == TO


@pytest.mark.parametrize(
    "line",
    [
        *("Accept: text/html", "ACCEPT-Encoding: gzip", "Content-Type: a/b", "User-Agent: me/1"),
        *("Host: other.test", "Expect: 100-continue", "Prefer: return=minimal", "From: me@me.test"),
        *("Authorization:", "X-Empty:   ", "X-Empty;"),
    ],
)
def test_a_header_that_tells_nothing_of_anybody_is_kept_as_it_was_written(line: str) -> None:
    then = kept("-H", line)
    assert (then["options"], then["withheld"]) == ({"headers": [line]}, [])


def test_files_are_kept_as_paths_that_hold_in_any_directory(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("head").write_text(f"Authorization: Bearer {SECRET}\n")
    then = kept("-H", "@head", "--cert", "c", "--key", "../k", "--cacert", "ca", "--unix-socket", "sock")
    assert then["options"] == {
        "headers": [f"@{tmp_path}/head"],
        "cert": f"{tmp_path}/c",
        "key": f"{tmp_path.parent}/k",
        "cacert": f"{tmp_path}/ca",
        "unix_socket": f"{tmp_path}/sock",
    }
    assert then["withheld"] == []


NOT_KEPT = "the run was begun with {}, which may hold a secret and is not kept / {}"


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        (["-H", "X-Key: s"], [], NOT_KEPT.format("-H X-Key", "give -H X-Key again")),
        (["-H", "X-Key: s"], ["-H", "Y: s"], NOT_KEPT.format("-H X-Key", "give -H X-Key again")),
        (["-x", "u:s@p"], [], NOT_KEPT.format("-x", "give -x again")),
        (["--to", f"{TO}?t=s"], [], NOT_KEPT.format("a query in --to", "give --to again, whole")),
        (["--to", f"{TO}?t=s"], ["--to", TO], NOT_KEPT.format("a query in --to", "give --to again, whole")),
        (
            ["--to", "http://u:s@api.test/v1/users"],
            ["--to", TO],
            NOT_KEPT.format("a user in --to", "give --to again, with the user"),
        ),
    ],
)
def test_what_was_withheld_must_be_given_again(then: list[str], now: list[str], said: str) -> None:
    assert refused(kept(*then), *now) == said


def test_all_that_is_missing_is_told_at_once() -> None:
    then = kept("-H", "A: s", "-H", "B: s", "-H", "C: s", "--to", TO.replace("://", "://u:p@") + "?t=s")
    assert refused(then, "-H", "B: s") == (
        "the run was begun with -H A, -H C, a user in --to, a query in --to, "
        "which may hold secrets and are not kept / give them again"
    )


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (["-H", "X-Key: s"], ["-H", "x-key: other"]),
        (["-H", "X-Key: s"], ["-H", "X-Key;"]),
        (["-H", "X-Key: s"], ["-H", "@file"]),
        (["-x", "u:s@p"], ["-x", ""]),
        (["--to", f"{TO}?t=s"], ["--to", f"{TO}?t=other"]),
        (["--to", "http://u:s@api.test/v1/users"], ["--to", "http://v:t@api.test:80/v1/users"]),
        (["--to", "http://u:s@api.test/v1/users"], ["-H", "Authorization: Basic dTpz"]),
        (["--to", "http://u:s@api.test/v1/users"], ["-H", "@file"]),
    ],
)
def test_what_is_given_again_need_not_be_the_same(then: list[str], now: list[str]) -> None:
    assert restored(kept(*then), *now).files == ["in.ndjson"]


@pytest.mark.parametrize("to", ["https://api.test/v1/users", "http://api.test/v1", "http://u:s@other.test/"])
def test_the_records_that_are_left_go_to_the_same_place(to: str) -> None:
    said = refused(kept(), "--to", to)
    assert said.startswith(f"the run was begun for {TO}, not http")
    assert "u:s" not in said


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"to": 1}, "Expected `str`, got `int`"),
        ({"to": "nowhere"}, "the URL has no scheme"),
        ({"files": "in.ndjson"}, "Expected `array`"),
        ({"options": []}, "Expected `object`"),
        ({"options": {"max_conns_per_host": "many"}}, "Expected `int`, got `str`"),
        ({"options": {"headers": "A: 1"}}, "Expected `array`"),
        ({"options": {"retry_max_time": [1]}}, "Expected `float | null`"),
        ({"withheld": None}, "Expected `array`"),
    ],
)
def test_what_makes_no_sense_is_damage(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(RunError) as caught:
        restored(kept() | changes)
    assert str(caught.value).startswith(f"run.json does not say what was asked: {why}")
    assert caught.value.hint == "restore it from a copy, or begin a new run with what is left"


@pytest.mark.parametrize("missing", ["to", "files", "options", "withheld"])
def test_what_is_missing_is_damage(missing: str) -> None:
    then = kept()
    del then[missing]
    with pytest.raises(RunError, match=f"missing required field `{missing}`"):
        restored(then)


def test_an_option_of_another_version_is_not_passed_over() -> None:
    with pytest.raises(RunError) as caught:
        restored(kept() | {"options": {"warp": 9}})
    assert str(caught.value) == "run.json names an unknown option 'warp'"
    assert caught.value.hint == "use the livepost that began the run"


def test_a_value_out_of_range_is_refused_as_if_it_were_given() -> None:
    given = restored(kept() | {"options": {"max_conns_per_host": 0}})
    with pytest.raises(ConfigurationError, match="connections is 0"):
        delivery_options(given)
