from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.wire.message import Fields, RequestHead
from livepost.wire.request_head import (
    ENGINE_FIELDS,
    check_field,
    check_request_line,
    render_request_head,
    with_fields,
)

TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VISIBLE_BYTES = bytes(range(0x21, 0x7F))
VALUE_BYTES = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))


def head(
    method: bytes = b"POST",
    target: bytes = b"/api",
    authority: bytes = b"localhost:8080",
    fields: Fields = (),
    **options: bool,
) -> RequestHead:
    return RequestHead(method, target, authority, b"http", fields, **options)


def test_the_bytes_of_a_head() -> None:
    fields = ((b"User-Agent", b"livepost/1"), (b"X-Empty", b""), (b"x-bytes", b"a\tb \xff"))
    assert render_request_head(head(b"PUT", b"/a?b=%20c", b"[::1]:8080", fields)).for_size(0) == (
        b"PUT /a?b=%20c HTTP/1.1\r\n"
        b"Host: [::1]:8080\r\n"
        b"Connection: keep-alive\r\n"
        b"User-Agent: livepost/1\r\n"
        b"X-Empty: \r\n"
        b"x-bytes: a\tb \xff\r\n"
        b"Content-Length: 0\r\n\r\n"
    )


def test_keep_alive_switched_off() -> None:
    assert render_request_head(head(close=True)).for_size(12) == (
        b"POST /api HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\nContent-Length: 12\r\n\r\n"
    )


def test_an_expectation_goes_with_a_body() -> None:
    rendered = render_request_head(head(expect_continue=True))
    plain = render_request_head(head())
    assert rendered.for_size(0) == plain.for_size(0)
    assert rendered.for_size(3) == plain.for_size(3).replace(
        b"Content-Length", b"Expect: 100-continue\r\nContent-Length"
    )


def test_sizes_are_remembered_up_to_a_bound() -> None:
    rendered = render_request_head(head())
    for size in range(3_000):
        assert rendered.for_size(size).endswith(b"Content-Length: %d\r\n\r\n" % size)
        assert len(rendered.by_size) <= 1_024


@pytest.mark.parametrize("target", [b"http://other:81/path?q", b"*", b"/" + VISIBLE_BYTES])
def test_the_target_is_sent_as_it_is(target: bytes) -> None:
    assert (
        render_request_head(head(target=target)).for_size(0).startswith(b"POST " + target + b" HTTP/1.1\r\n")
    )


@pytest.mark.parametrize("place", [b"%b", b"a%b", b"%ba", b"a%ba"])
def test_which_bytes_may_stand_in_which_part(place: bytes) -> None:
    texts = {place % bytes((code,)): code for code in range(256)}
    methods = accepted(texts, lambda text: check_request_line(text, b"/", b"a"))
    targets = accepted(texts, lambda text: check_request_line(b"GET", text, b"a"))
    authorities = accepted(texts, lambda text: check_request_line(b"GET", b"/", text))
    names = accepted(texts, lambda text: check_field(text, b""))
    values = accepted(texts, lambda text: check_field(b"a", text))
    assert methods == names == set(TOKEN_BYTES)
    assert targets == authorities == set(VISIBLE_BYTES)
    assert values == set(VALUE_BYTES)


def accepted(texts: dict[bytes, int], check: Callable[[bytes], None]) -> set[int]:
    codes = set()
    for text, code in texts.items():
        with contextlib.suppress(ValueError):
            check(text)
            codes.add(code)
    return codes


def test_only_a_value_may_be_empty() -> None:
    check_field(b"a", b"")
    for parts in ((b"", b"/", b"a"), (b"GET", b"", b"a"), (b"GET", b"/", b"")):
        with pytest.raises(ValueError, match=r"is empty|not a request method: ''"):
            check_request_line(*parts)
    with pytest.raises(ValueError, match="not a header name: b''"):
        check_field(b"", b"")


INJECTIONS = [b"\r\nX: y", b"\nX: y", b"\rX: y", b"\x00", b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"\r\n"]


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda text: head(method=b"POST" + text), r"not a request method: 'POST.*'"),
        (lambda text: head(target=b"/?token=s3cret" + text), r"the request target is empty, or holds .*"),
        (lambda text: head(authority=b"s3cret" + text), r"the Host field is empty, or holds .*"),
        (lambda text: head(fields=((b"Name" + text, b"s3cret"),)), r"not a header name: b'Name.*'"),
        (
            lambda text: head(fields=((b"Authorization", b"s3cret" + text),)),
            r"the value of Authorization holds a control character",
        ),
        (
            lambda text: head(fields=((b"A", b"b"), (b"Key", text + b"s3cret"))),
            r"the value of Key holds a control character",
        ),
    ],
)
def test_an_injection_is_refused_and_no_secret_shown(
    injection: bytes, make: Callable[[bytes], RequestHead], said: str
) -> None:
    with pytest.raises(ValueError, match=f"^{said}$") as caught:
        render_request_head(make(injection))
    assert "s3cret" not in str(caught.value)
    assert not re.search(r"[\r\n\0]", str(caught.value))


def test_a_method_of_any_bytes_is_shown_in_ascii() -> None:
    with pytest.raises(ValueError, match=r"^not a request method: ") as caught:
        check_request_line(b"P\xff\r\n", b"/", b"a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(ENGINE_FIELDS))
@pytest.mark.parametrize("change", [bytes.lower, bytes.upper, bytes.title])
def test_the_engine_sets_its_own_fields(name: bytes, change: Callable[[bytes], bytes]) -> None:
    name = change(name)
    with pytest.raises(ValueError, match=f"^{name.decode()} is set by livepost itself$"):
        render_request_head(head(fields=((name, b"s3cret"),)))


def test_the_engine_owns_what_frames_a_message_or_manages_the_connection() -> None:
    assert {b"host", b"content-length", b"transfer-encoding", b"connection"} <= ENGINE_FIELDS
    assert all(name == name.lower() for name in ENGINE_FIELDS)


@settings(deadline=None)
@given(
    st.text(st.sampled_from(TOKEN_BYTES.decode()), min_size=1).map(str.encode),
    st.text(st.sampled_from(VISIBLE_BYTES.decode()), min_size=1).map(str.encode),
    st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=4),
)
def test_a_head_has_exactly_its_own_lines_or_is_refused(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    try:
        rendered = render_request_head(head(method, target, fields=tuple(fields)))
    except ValueError:
        return
    whole = rendered.for_size(1)
    lines = whole.split(b"\r\n")
    assert whole.count(b"\n") == whole.count(b"\r") == 5 + len(fields)
    assert lines[0].split(b" ") == [method, target, b"HTTP/1.1"]
    assert lines[3:] == [name + b": " + value for name, value in fields] + [b"Content-Length: 1", b"", b""]


def test_fields_of_one_request_stand_behind_the_others() -> None:
    rendered = render_request_head(head(fields=((b"A", b"b"),))).for_size(3)
    assert with_fields(rendered, ((b"Key", b'"1"'), (b"C", b""))) == (
        rendered.removesuffix(b"\r\n") + b'Key: "1"\r\nC: \r\n\r\n'
    )


@pytest.mark.parametrize(
    "field",
    [(b"A", b"b\r\nC: d"), (b"A\r\nB", b"c"), (b"Content-Length", b"1"), (b"HOST", b"x"), (b"A", b"\0")],
)
def test_fields_of_one_request_cannot_inject(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match=r"control character|not a header name|set by livepost"):
        with_fields(b"POST / HTTP/1.1\r\n\r\n", (field,))
