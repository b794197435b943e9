from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import pytest

from livepost.cli.parser import Parser, add_options, collect
from livepost.cli.send import make_parser
from livepost.config import (
    InputOptions,
    Limits,
    LivenessOptions,
    RequestOptions,
    RouteOptions,
    ShowOptions,
    Timeouts,
    TlsOptions,
)
from livepost.errors import ConfigurationError
from livepost.policy import OrderOptions, OutcomeOptions, PaceOptions, RetryOptions

GROUPS = (
    *(RequestOptions, OutcomeOptions, RetryOptions, PaceOptions, OrderOptions),
    *(Limits, Timeouts, LivenessOptions, TlsOptions, RouteOptions, InputOptions, ShowOptions),
)


def options(kind: type[Any], *arguments: str) -> Any:
    return collect(make_parser().parse(arguments), kind)


def refused(*arguments: str) -> str:
    parser = make_parser()

    def collect_all() -> None:
        given = parser.parse(arguments)
        for kind in GROUPS:
            collect(given, kind)

    with pytest.raises(ConfigurationError) as caught:
        collect_all()
    return f"{caught.value} / {caught.value.hint}"


@pytest.mark.parametrize("kind", GROUPS)
def test_what_is_not_given_keeps_its_default(kind: type[Any]) -> None:
    assert options(kind) == kind()


def test_every_field_can_be_given() -> None:
    every = [
        *("-XPUT", "-H", "A:1", "--header", "B:2"),
        *("--connections", "7", "--max-idle", "3", "--no-keepalive"),
        *("--connect-timeout", "1", "-m", "500ms", "--idle-timeout", "2m", "--tls-handshake-timeout", "4s"),
        *("--response-header-timeout", "5", "--expect-continue-timeout", "6"),
        *("--keepalive-path", "/health", "--keepalive-every", "auto", "--max-connection-age", "1h"),
        *("--max-handshakes-per-1000", "1.5", "--no-memory"),
        *("-k", "--cacert", "ca", "--cert", "cert", "--key", "key"),
        *("--http1.1", "--http2-prior-knowledge", "-x", "http://p", "--unix-socket", "sock"),
        *("--resolve", "h:1:::1", "--resolve", "h:2:1.2.3.4"),
        *("--max-record-bytes", "1M", "--input-format", "json"),
        *("-o", "out", "--json", "--progress", "none"),
        *("--success-on", "304", "--reject-on", "503", "--retry-on", "5xx", "-L"),
        *("--retry", "3", "--retry-max-time", "5m", "--idempotency-key=X-Key", "--at-least-once"),
        *("--idempotency-key-format", "raw", "--max-in-doubt", "9"),
        *("--rate", "10/s", "--max-retry-after", "1m", "--give-up-after", "none", "--start-timeout", "1m"),
        *("--order-key", "/id", "--on-key-failure", "skip"),
    ]
    assert options(RequestOptions, *every) == RequestOptions("PUT", ("A:1", "B:2"))
    assert options(Limits, *every) == Limits(7, 3, None, True)
    assert options(Timeouts, *every) == Timeouts(1.0, 0.5, 120.0, 4.0, 5.0, 6.0)
    assert options(LivenessOptions, *every) == LivenessOptions("/health", "auto", 3600.0, 1.5, True)
    assert options(TlsOptions, *every) == TlsOptions(True, "ca", "cert", "key")
    assert options(RouteOptions, *every) == RouteOptions(
        True, True, "http://p", "sock", ("h:1:::1", "h:2:1.2.3.4")
    )
    assert options(InputOptions, *every) == InputOptions(1048576, "json")
    assert options(ShowOptions, *every) == ShowOptions("out", True, "none")
    assert options(OutcomeOptions, *every) == OutcomeOptions("304", "503", "5xx", True)
    assert options(RetryOptions, *every) == RetryOptions(3, 300.0, "X-Key", "raw", True, 9)
    assert options(PaceOptions, *every) == PaceOptions("10/s", 60.0, None, 60.0)
    assert options(OrderOptions, *every) == OrderOptions(False, "/id", "skip")
    assert options(OrderOptions, "--ordered") == OrderOptions(ordered=True)
    flags = {word.partition("=")[0] for word in [*every, "--ordered"] if word[:1] == "-"} | {
        "-X",
        "--request",
    }
    for kind in GROUPS:
        for field in dataclasses.fields(kind):
            assert not field.metadata["flags"] or flags & set(field.metadata["flags"]), field.name


def test_no_two_options_are_parsed_into_one_name() -> None:
    names = [
        field.name for kind in GROUPS for field in dataclasses.fields(kind) if field.metadata.get("flags")
    ]
    assert len(names) == len(set(names)) >= 35


def test_none_means_no_limit_where_there_may_be_none() -> None:
    assert options(Timeouts, "--max-time", "none").max_time is None
    assert options(Timeouts, "--max-time=NONE").max_time is None
    assert options(Limits, "--max-idle", "none").max_idle_conns_per_host is None
    assert refused("--connections", "none").startswith("argument --connections: 'none' is not a number")


def test_a_time_may_be_a_word_where_there_is_one() -> None:
    every = ("--keepalive-path", "/", "--keepalive-every")
    assert options(LivenessOptions, *every, "auto").keepalive_every == "auto"
    assert options(LivenessOptions, *every, "500ms").keepalive_every == 0.5
    assert options(LivenessOptions, *every, "40").keepalive_every == 40.0
    assert options(LivenessOptions, *every, "none").keepalive_every is None
    said = refused(*every, "often")
    assert (
        "argument --keepalive-every: 'often' is not a time; write 90, 1.5s, 500ms, 2m or 1h, or auto" in said
    )


def test_an_empty_proxy_is_not_the_default() -> None:
    assert options(RouteOptions, "-x", "").proxy == ""
    assert options(RouteOptions).proxy is None


def test_files_and_options_come_in_any_order() -> None:
    given = make_parser().parse(["a", "--json", "-", "--to", "http://x", "b"])
    assert (given.files, given.to) == (["a", "-", "b"], "http://x")


def test_a_key_without_a_name_leaves_the_file_after_it_a_file() -> None:
    for arguments in (["--idempotency-key", "a"], ["a", "--idempotency-key"]):
        given = make_parser().parse(arguments)
        assert given.files == ["a"]
        assert collect(given, RetryOptions).idempotency_key == "Idempotency-Key"
    assert options(RetryOptions, "--idempotency-key=X-Key", "a").idempotency_key == "X-Key"


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["--", "a", "-"], ["a", "-"]),
        (["--", "-b", "a"], ["-b", "a"]),
        (["--", "--max-time=1", "--max-time", "2"], ["--max-time=1", "--max-time", "2"]),
        (["a", "--", "-b", "--to", "--", "-b"], ["a", "-b", "--to", "--", "-b"]),
        (["--", "--idempotency-key", "--help"], ["--idempotency-key", "--help"]),
        (["a", "--"], ["a"]),
    ],
)
def test_two_dashes_end_the_options(arguments: list[str], files: list[str]) -> None:
    given = make_parser().parse(["--json", *arguments])
    assert given.files == files
    assert set(vars(given)) == {"json", "files", "to"}
    assert given.to is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--conections", "8"], "there is no option --conections; did you mean --connections?"),
        (["--conections=8"], "there is no option --conections; did you mean --connections?"),
        (["a", "--conections=8", "b"], "there is no option --conections; did you mean --connections?"),
        (["--connect"], "there is no option --connect; did you mean --connections?"),
        (["--no-keep-alive"], "there is no option --no-keep-alive; did you mean --no-keepalive?"),
        (["--banana", "x"], "there is no option --banana"),
        (["-Z"], "there is no option -Z"),
        (["--connections", "many"], "argument --connections: 'many' is not a number"),
        (["--connections", "1.5"], "argument --connections: '1.5' is not a number"),
        (["--connections", "0"], "connections is 0"),
        (["--connections", "-1"], "connections is -1"),
        (["--connections"], "argument --connections: expected one argument"),
        (["--max-time", "0"], "max time is 0.0"),
        (["--max-time", "x"], "argument --max-time/-m: 'x' is not a time; write 90, 1.5s, 500ms, 2m or 1h"),
        (["--max-record-bytes", "0"], "max record bytes is 0"),
        (
            ["--max-record-bytes", "x"],
            "argument --max-record-bytes: 'x' is not a size; write 1048576, 512K, 16MiB or 1M",
        ),
        (["--progress", "loud"], "there is no progress display loud"),
        (["--input-format", "csv"], "there is no input format csv"),
        (["--json=yes"], "argument --json: takes no value"),
        (["-kuUSER:s3cret"], "argument -k/--insecure: takes no value"),
        (["--json", "-o", "-"], "both the receipts and the summary would go to stdout"),
    ],
)
def test_what_is_wrong_is_said_with_a_hint(arguments: Sequence[str], said: str) -> None:
    sentence, _, hint = refused(*arguments).rpartition(" / ")
    assert sentence == said
    assert hint


def test_what_nobody_asked_for_is_refused() -> None:
    parser = Parser("livepost serve", "livepost serve", "A server.")
    with pytest.raises(ConfigurationError, match=r"^there is nothing to be done with extra$"):
        parser.parse(["extra"])
    with pytest.raises(ConfigurationError, match=r"^there is nothing to be done with --extra$"):
        parser.parse(["--", "--extra"])
    with pytest.raises(ConfigurationError, match=r"^there is nothing to be done with one more argument$"):
        parser.parse(["http://user:s3cret@api.test/"])


def help_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as caught:
        make_parser().parse(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_every_option_is_documented_at_any_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    shown = help_text(monkeypatch, capsys, columns)
    assert max(map(len, shown.splitlines())) <= columns
    words = " ".join(shown.split())
    for kind in GROUPS:
        assert (kind.__doc__ or "").partition("\n")[0].partition(":")[0].rstrip(".") in words
        for field in dataclasses.fields(kind):
            for flag in field.metadata["flags"]:
                assert re.search(rf"(^|[ ,]){re.escape(flag)}[ ,]", words), flag
            if field.metadata["flags"]:
                assert " ".join(field.metadata["help"].split()) in words, field.name


def test_the_help_tells_the_defaults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = " ".join(help_text(monkeypatch, capsys, 80).split())
    assert "as few as carry so many requests (default: 64)" in words
    assert "the end of its answer (default: 60 s)" in words
    assert "(default: 16 MiB)" in words
    assert "request method (default: POST)" in words
    assert words.count("(default: auto)") == 1, "of two that are auto, one explains itself"
    assert "none is no limit" in words
    assert (
        "exit codes: 0 all delivered; 1 some rejected or in doubt, or too many handshakes; 2 wrong" in words
    )


def test_options_without_flags_are_left_to_the_library() -> None:
    @dataclasses.dataclass(frozen=True)
    class Some:
        """Some options."""

        hidden: int = dataclasses.field(default=3, metadata={"help": "not on the command line"})

    parser = Parser("livepost some", "livepost some", "Some.")
    add_options(parser, Some)
    assert "hidden" not in parser.format_help()
    assert collect(parser.parse([]), Some) == Some(3)


def test_options_can_be_left_out() -> None:
    parser = Parser("x", "x", "")
    add_options(parser, TlsOptions, omit=("insecure", "key"))
    assert collect(parser.parse(["--cacert", "ca"]), TlsOptions) == TlsOptions(cacert="ca")
    with pytest.raises(ConfigurationError, match="there is no option -k"):
        parser.parse(["-k"])
