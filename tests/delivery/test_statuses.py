from __future__ import annotations

import pytest

from livepost.delivery.statuses import parse_statuses
from livepost.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("", set()),
        ("  ", set()),
        ("429", {429}),
        ("429,500-504", {429, 500, 501, 502, 503, 504}),
        (" 429 , 409 ", {409, 429}),
        ("503-503", {503}),
        ("2xx", set(range(200, 300))),
        ("5XX,404", {404, *range(500, 600)}),
        ("200-999", set(range(200, 1000))),
    ],
)
def test_lists_of_statuses(text: str, codes: set[int]) -> None:
    assert parse_statuses(text, "--retry-on") == codes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("teapot", "--retry-on: 'teapot' is not a status code"),
        ("429,", "--retry-on: '' is not a status code"),
        ("4x", "--retry-on: '4x' is not a status code"),
        ("0xx", "--retry-on: '0xx' is not a status code"),
        ("1000", "--retry-on: '1000' is not a status code"),
        ("٤٢٩", "--retry-on: '٤٢٩' is not a status code"),
        ("504-500", "--retry-on: 504-500 ends before it begins"),
        ("1xx", "--retry-on: 1xx is no final answer"),
        ("100-299", "--retry-on: 100-299 is no final answer"),
    ],
)
def test_what_is_no_list_is_refused_with_a_hint(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_statuses(text, "--retry-on")
    assert str(caught.value) == said
    assert caught.value.hint
