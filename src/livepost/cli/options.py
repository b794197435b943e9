"""The options that `send`, `resume` and `retry` share."""

from __future__ import annotations

import argparse

from livepost.cli.parser import Parser, add_options, collect
from livepost.config import (
    DeliveryOptions,
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
from livepost.target import parse_target

DELIVERY_GROUPS = (
    *(RequestOptions, OutcomeOptions, RetryOptions, PaceOptions, OrderOptions),
    *(Limits, Timeouts, LivenessOptions, TlsOptions, RouteOptions),
)

EXIT_CODES = """\
exit codes: 0 all delivered; 1 some rejected or in doubt, or too many handshakes; 2 wrong
usage; 3 target never reached; 4 the input is not the one the run began with; 75 stopped
early, or output not written; 130 and 143 stopped by SIGINT and SIGTERM (the first lets
what is in flight finish, the second stops at once)."""


def add_delivery_options(parser: Parser) -> None:
    """`--to`, and what says how records are delivered and shown."""
    parser.add_argument("--to", metavar="URL", help="where to send them")
    for group in (*DELIVERY_GROUPS, ShowOptions):
        add_options(parser, group)


def delivery_options(given: argparse.Namespace) -> DeliveryOptions:
    """What was given, over the defaults.  Raises ConfigurationError."""
    tls = collect(given, TlsOptions)
    if tls.key is not None and tls.cert is None:
        # Over plain HTTP nobody would miss the certificate, nor an order of records that was meant by it.
        raise ConfigurationError(
            "--key is given without --cert",
            "give the certificate as well; for an order among records it is --order-key",
        )
    return DeliveryOptions(
        target=parse_target(given.to),
        request=collect(given, RequestOptions),
        limits=collect(given, Limits),
        timeouts=collect(given, Timeouts),
        liveness=collect(given, LivenessOptions),
        tls=tls,
        route=collect(given, RouteOptions),
        input=collect(given, InputOptions),
        outcome=collect(given, OutcomeOptions),
        retry=collect(given, RetryOptions),
        pace=collect(given, PaceOptions),
        order=collect(given, OrderOptions),
    )
