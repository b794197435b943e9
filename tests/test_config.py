from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest

from livepost import config, policy
from livepost.config import (
    DeliveryOptions,
    InputOptions,
    Limits,
    LivenessOptions,
    RequestOptions,
    ShowOptions,
    Timeouts,
    TlsOptions,
)
from livepost.errors import ConfigurationError
from livepost.policy import OrderOptions, OutcomeOptions, PaceOptions, RetryOptions
from livepost.target import parse_target

GROUPS = [
    kind
    for module in (config, policy)
    for kind in vars(module).values()
    if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
]


def refused(kind: type[Any], **values: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        kind(**values)
    return f"{caught.value} / {caught.value.hint}"


def test_the_defaults_are_the_documented_ones() -> None:
    options = DeliveryOptions(parse_target("http://api.test/"))
    assert options.request == RequestOptions(method="POST", headers=())
    assert dataclasses.asdict(options.limits) == {
        "max_conns_per_host": 64,
        "max_idle_conns_per_host": None,
        "max_idle_conns": None,
        "disable_keep_alives": False,
    }
    assert dataclasses.asdict(options.timeouts) == {
        "connect_timeout": 10.0,
        "max_time": 60.0,
        "idle_conn_timeout": 90.0,
        "tls_handshake_timeout": 10.0,
        "response_header_timeout": None,
        "expect_continue_timeout": 1.0,
    }
    assert options.liveness == LivenessOptions(None, None, None, None, False)
    assert options.tls == TlsOptions(insecure=False, cacert=None, cert=None, key=None)
    assert options.input.max_record_bytes == 16 * 1024**2
    assert options.max_response_bytes == 1024**2
    assert options.outcome == OutcomeOptions(success_on="", reject_on="", retry_on="", location=False)
    assert dataclasses.asdict(options.retry) == {
        "retry": 10,
        "retry_max_time": None,
        "idempotency_key": None,
        "idempotency_key_format": "quoted",
        "at_least_once": False,
        "max_in_doubt": 100,
    }
    assert dataclasses.asdict(options.pace) == {
        "rate": None,
        "max_retry_after": 600.0,
        "give_up_after": 3600.0,
        "start_timeout": 5.0,
    }
    assert options.order == OrderOptions(ordered=False, order_key=None, on_key_failure="stop")


def test_by_default_no_idle_connection_is_thrown_away() -> None:
    assert Limits(max_conns_per_host=7).idle_per_host == 7
    assert Limits(max_conns_per_host=7, max_idle_conns_per_host=0).idle_per_host == 0
    assert Limits(max_conns_per_host=7, max_idle_conns_per_host=9).idle_per_host == 9


@pytest.mark.parametrize("kind", GROUPS, ids=lambda kind: kind.__name__)
def test_options_are_frozen_values_with_a_sentence_each(kind: type[Any]) -> None:
    assert kind.__dataclass_params__.frozen
    assert "__slots__" in vars(kind)
    assert (kind.__doc__ or "").partition("\n")[0].endswith(".")
    for field in dataclasses.fields(kind):
        if field.metadata:
            assert field.metadata["help"], field.name
            assert not field.metadata["help"].endswith("."), field.name


def test_no_flag_stands_for_two_options() -> None:
    flags = [
        flag
        for kind in GROUPS
        for field in dataclasses.fields(kind)
        for flag in field.metadata.get("flags", ())
    ]
    assert len(flags) == len(set(flags)) >= 30


def test_only_what_may_be_unlimited_may_be_none() -> None:
    assert refused(Limits, max_conns_per_host=0) == "connections is 0 / it must be at least 1"
    assert Timeouts(None, None, None, None, None, None).max_time is None


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (Limits, {"max_conns_per_host": -1}, "connections is -1 / it must be at least 1"),
        (Limits, {"max_idle_conns_per_host": -1}, "max idle is -1 / it must be at least 0"),
        (Limits, {"max_idle_conns": -1}, "max idle conns is -1 / it must be at least 0"),
        (LivenessOptions, {"max_connection_age": 0.0}, "max connection age is 0.0 / it must be above 0"),
        (
            LivenessOptions,
            {"max_handshakes_per_1000": 0.0},
            "max handshakes per 1000 is 0.0 / it must be above 0",
        ),
        (
            LivenessOptions,
            {"keepalive_path": "/", "keepalive_every": 0.0},
            "keepalive every is 0.0 / it must be above 0",
        ),
        (
            LivenessOptions,
            {"keepalive_every": "auto"},
            "--keepalive-every needs something to ask for / add --keepalive-path PATH, as in /health",
        ),
        (InputOptions, {"max_record_bytes": 0}, "max record bytes is 0 / it must be at least 1"),
        (
            InputOptions,
            {"input_format": "csv"},
            "there is no input format csv / use ndjson, json or letters",
        ),
        (RetryOptions, {"retry": -1}, "retry is -1 / it must be at least 0"),
        (RetryOptions, {"retry_max_time": 0.0}, "retry max time is 0.0 / it must be above 0"),
        (
            RetryOptions,
            {"idempotency_key_format": "bare"},
            "there is no idempotency key format bare / use quoted or raw",
        ),
        (
            RetryOptions,
            {"idempotency_key_format": "raw"},
            "--idempotency-key-format alone sends no key / add --idempotency-key if the server honours it",
        ),
        (
            OrderOptions,
            {"on_key_failure": "skip"},
            "--on-key-failure alone keeps no order / add --ordered or --order-key POINTER, or leave it out",
        ),
        (PaceOptions, {"max_retry_after": 0.0}, "max retry after is 0.0 / it must be above 0"),
        (PaceOptions, {"give_up_after": -1.0}, "give up after is -1.0 / it must be above 0"),
        (PaceOptions, {"start_timeout": 0.0}, "start timeout is 0.0 / it must be above 0"),
        (
            OrderOptions,
            {"ordered": True, "order_key": "/id"},
            "--ordered and --order-key exclude each other / give one of them",
        ),
        (
            OrderOptions,
            {"on_key_failure": "ignore"},
            "a failure cannot be handled by ignore / use skip or stop",
        ),
        (
            ShowOptions,
            {"progress": "loud"},
            "there is no progress display loud / use auto, bar, plain or none",
        ),
        (
            ShowOptions,
            {"json": True, "receipts": "-"},
            "both the receipts and the summary would go to stdout / give -o a file name, or leave out --json",
        ),
    ],
)
def test_a_value_out_of_range_is_refused(kind: type[Any], values: dict[str, Any], said: str) -> None:
    assert refused(kind, **values) == said


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("field", dataclasses.fields(Timeouts), ids=lambda field: field.name)
def test_every_time_is_above_zero_and_finite(field: dataclasses.Field[Any], value: float) -> None:
    name = field.metadata["flags"][0][2:].replace("-", " ")
    assert refused(Timeouts, **{field.name: value}) == f"{name} is {value} / it must be above 0"


def test_receipts_and_summary_may_go_to_different_places() -> None:
    assert ShowOptions(json=True, receipts="receipts").json
    assert ShowOptions(json=False, receipts="-").receipts == "-"


@pytest.mark.parametrize("path", ["/", "/health", "/v1/ready%20now", "/a;b=c,d", "//x"])
def test_a_keepalive_path_is_what_may_stand_in_a_request_line(path: str) -> None:
    assert LivenessOptions(keepalive_path=path).keepalive_path == path


@pytest.mark.parametrize(
    "path", ["", "health", "/a b", "/a?token=secret", "/a#b", "/a\r\nX: 1", "/ü", "/a\n", "http://x/", "*"]
)
def test_a_keepalive_path_that_could_break_a_request_or_hold_a_secret_is_refused(path: str) -> None:
    said = refused(LivenessOptions, keepalive_path=path)
    assert said.startswith("--keepalive-path is no path that a request could name / begin it with /")
    assert "secret" not in said


@pytest.mark.parametrize(("every", "seconds"), [("auto", None), (None, None), (2.5, 2.5)])
def test_heartbeats_come_by_themselves_or_every_so_many_seconds(
    every: float | Literal["auto"] | None, seconds: float | None
) -> None:
    assert LivenessOptions(keepalive_path="/", keepalive_every=every).heartbeat_seconds == seconds


@pytest.mark.parametrize("every", [-1.0, 0.0, float("nan"), float("inf")])
def test_heartbeats_that_would_never_or_always_come_are_refused(every: float) -> None:
    assert refused(LivenessOptions, keepalive_path="/", keepalive_every=every) == (
        f"keepalive every is {every} / it must be above 0"
    )
