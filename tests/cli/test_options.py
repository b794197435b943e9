from __future__ import annotations

import dataclasses
import typing

import pytest

from livepost.cli import resume, retry, send
from livepost.cli.options import DELIVERY_GROUPS, add_delivery_options, delivery_options
from livepost.cli.parser import Parser
from livepost.config import DeliveryOptions, InputOptions, ShowOptions
from livepost.errors import ConfigurationError
from livepost.target import parse_target

TO = "http://api.test/"


def parser() -> Parser:
    parser = Parser("livepost x", "livepost x", "")
    add_delivery_options(parser)
    return parser


def test_every_group_of_the_options_of_a_delivery_is_offered() -> None:
    hints = typing.get_type_hints(DeliveryOptions)
    groups = {
        hints[field.name]
        for field in dataclasses.fields(DeliveryOptions)
        if dataclasses.is_dataclass(hints[field.name]) and field.name != "target"
    }
    assert groups == {*DELIVERY_GROUPS, InputOptions}
    assert len(DELIVERY_GROUPS) == len(set(DELIVERY_GROUPS))


def test_nothing_given_is_the_defaults() -> None:
    given = parser().parse(["--to", TO])
    assert delivery_options(given) == DeliveryOptions(parse_target(TO))


@pytest.mark.parametrize("kind", [*DELIVERY_GROUPS, ShowOptions])
def test_send_resume_and_retry_know_the_same_options(kind: type[typing.Any]) -> None:
    for make in (send.make_parser, resume.make_parser, retry.make_parser):
        known = {flag for action in make()._actions for flag in action.option_strings}
        for field in dataclasses.fields(kind):
            assert known.issuperset(field.metadata.get("flags", ()))


def test_what_excludes_each_other_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--unix-socket and --proxy exclude each other"):
        delivery_options(parser().parse(["--to", TO, "-x", "p", "--unix-socket", "s"]))
