from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost import __version__
from livepost.config import DeliveryOptions, Limits, LivenessOptions, RequestOptions
from livepost.delivery.request import make_keepalive_head, make_request_head
from livepost.errors import ConfigurationError
from livepost.target import parse_target
from livepost.wire.message import RequestHead
from livepost.wire.request_head import ENGINE_FIELDS, render_request_head

USER_AGENT = (b"User-Agent", b"livepost/" + __version__.encode())
ACCEPT = (b"Accept", b"*/*")
JSON = (b"Content-Type", b"application/json")


def head(
    *headers: str, url: str = "http://api.test/v1", method: str = "POST", proxy: str | None = None
) -> RequestHead:
    options = DeliveryOptions(parse_target(url), RequestOptions(method, headers))
    return make_request_head(options, None if proxy is None else parse_target(proxy, "proxy URL"))


def refused(*headers: str, url: str = "http://api.test/v1", method: str = "POST") -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        head(*headers, url=url, method=method)
    return caught.value


def test_the_defaults_are_those_of_a_client_that_posts_json() -> None:
    made = head()
    assert render_request_head(made).for_size(2) == (
        b"POST /v1 HTTP/1.1\r\nHost: api.test\r\nConnection: keep-alive\r\n"
        b"User-Agent: livepost/%b\r\nAccept: */*\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\n\r\n" % __version__.encode()
    )
    assert (made.scheme, made.expect_continue, made.close) == (b"http", False, False)


def test_a_header_is_added() -> None:
    assert head("X-Batch: 7").fields == (USER_AGENT, ACCEPT, JSON, (b"X-Batch", b"7"))


def test_a_header_may_be_given_twice() -> None:
    assert head("X-Tag: a", "x-tag: b").fields[3:] == ((b"X-Tag", b"a"), (b"x-tag", b"b"))


def test_a_default_is_replaced_whatever_its_case() -> None:
    assert head("content-TYPE:text/csv").fields == (USER_AGENT, ACCEPT, (b"content-TYPE", b"text/csv"))


def test_a_default_is_left_out() -> None:
    assert head("Accept:", "user-agent: \t").fields == (JSON,)


def test_leaving_out_what_is_not_there_changes_nothing() -> None:
    assert head("X-Nothing:").fields == (USER_AGENT, ACCEPT, JSON)


def test_an_empty_header_is_sent() -> None:
    assert head("X-Empty;").fields[3:] == ((b"X-Empty", b""),)


def test_white_space_around_a_value_is_removed_and_kept_within() -> None:
    assert head("X-A:  one  two\t").fields[3:] == ((b"X-A", b"one  two"),)


def test_a_colon_within_a_value_stays() -> None:
    assert head("X-Time: 12:30").fields[3:] == ((b"X-Time", b"12:30"),)


def test_text_goes_out_as_utf_8() -> None:
    assert head("X-Name: Zoë").fields[3:] == ((b"X-Name", b"Zo\xc3\xab"),)


def test_bytes_of_the_command_line_that_are_not_utf_8_go_out_as_they_are() -> None:
    assert head("X-Name: \udcff").fields[3:] == ((b"X-Name", b"\xff"),)


def test_headers_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_bytes(b"\xef\xbb\xbfX-One: 1\r\n\r\n  \nAccept:\nX-Two: zwei \xc3\xbc\n")
    assert head(f"@{file}", "X-Three: 3").fields == (
        USER_AGENT,
        JSON,
        (b"X-One", b"1"),
        (b"X-Two", b"zwei \xc3\xbc"),
        (b"X-Three", b"3"),
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"X-One: 1\nX-Two: a\rX-Evil: 1\n", "the value of X-Two holds a control character"),
        (b"X-One: 1\nX-Two: a\0b\n", "the value of X-Two holds a control character"),
        (b"X-One: 1\nX-Two: a\x0bX-Evil: 1\n", "the value of X-Two holds a control character"),
        (b"X-One: 1\nX-Two: a\x7f\n", "the value of X-Two holds a control character"),
        (b"X-One: 1\nsecret\n", "line 2 of {} is no header: it has no colon"),
        (
            b"X-One: 1\n\nX Two: secret\n",
            "line 3 of {} is no header: what stands before the colon is not a name",
        ),
        (b"X-One: \xff\n", "-H @{} cannot be read: it is not UTF-8 text"),
    ],
)
def test_a_file_is_as_strict(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "headers"
    file.write_bytes(content)
    assert str(refused(f"@{file}")) == complaint.format(file)


def test_a_line_separator_of_unicode_is_no_line_end(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_bytes("X-One: a\u2028X-Evil: 1\n".encode())
    assert head(f"@{file}").fields[3:] == ((b"X-One", "a\u2028X-Evil: 1".encode()),)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert (
        str(refused(f"@{tmp_path}/none")) == f"-H @{tmp_path}/none cannot be read: No such file or directory"
    )
    assert str(refused(f"@{tmp_path}")) == f"-H @{tmp_path} cannot be read: Is a directory"
    assert "cannot be read" in str(refused("@a\0b"))


def test_host_is_overridden() -> None:
    made = head("host: other.test:81")
    assert made.authority == b"other.test:81"
    assert made.fields == (USER_AGENT, ACCEPT, JSON)


@pytest.mark.parametrize("value", ["a b", "a\rb", "a\nb", "a\0b", "ü", "a\tb"])
def test_a_host_cannot_smuggle(value: str) -> None:
    refused(f"Host: {value}")


@pytest.mark.parametrize("name", sorted(field.decode() for field in ENGINE_FIELDS - {b"host"}))
@pytest.mark.parametrize("form", ["{}: 1", "{}:", "{};"])
def test_what_frames_the_message_is_the_engines(name: str, form: str) -> None:
    line = form.format(name.title())
    assert str(refused(line)) == f"-H {name.title()}: livepost sets this header itself"


@pytest.mark.parametrize("line", ["Host:", "Host;"])
def test_host_cannot_be_left_out(line: str) -> None:
    assert str(refused(line)) == "-H Host: livepost sets this header itself"


def test_100_continue_is_expected() -> None:
    made = head("expect: 100-Continue")
    assert made.expect_continue
    assert made.fields == (USER_AGENT, ACCEPT, JSON)


def test_expect_is_left_out_as_in_commands_for_curl() -> None:
    assert not head("Expect:").expect_continue


def test_nothing_else_can_be_expected() -> None:
    assert str(refused("Expect: tea")) == "-H Expect: only 100-continue can be expected"
    assert str(refused("Expect;")) == "-H Expect: only 100-continue can be expected"


@pytest.mark.parametrize("evil", ["\r\nX-Evil: 1", "\nX-Evil: 1", "\r", "\0", "\x0b", "\x1b"])
def test_no_control_character_gets_into_a_value(evil: str) -> None:
    error = refused(f"Authorization: Bearer s3cret{evil}")
    assert str(error) == "the value of Authorization holds a control character"
    assert "s3cret" not in error.hint


@pytest.mark.parametrize("evil", ["\r\n", "\n", "\0", " ", "ü", "(", '"', ""])
def test_no_such_character_gets_into_a_name(evil: str) -> None:
    error = refused("X-One: 1", f"s3cret{evil}: 1" if evil else ": s3cret")
    assert str(error) == "-H number 2 is no header: what stands before the colon is not a name"
    assert "s3cret" not in error.hint


def test_a_token_given_in_place_of_a_header_is_not_shown() -> None:
    error = refused("X-One: 1", "s3cret")
    assert (str(error), error.hint) == (
        "-H number 2 is no header: it has no colon",
        "write it as 'Name: value', on one line",
    )


@pytest.mark.parametrize(
    "method", ["", "PO ST", "POST\r\n", "POST\0", "PÖST", "POST /evil HTTP/1.1\r\nX:", "\udcff"]
)
def test_a_method_is_one_token(method: str) -> None:
    assert "not a request method" in str(refused(method=method))


def test_any_token_is_a_method() -> None:
    assert head(method="M-SEARCH").method == b"M-SEARCH"


@given(st.text(max_size=12), st.text(max_size=12))
def test_whatever_is_given_makes_one_line_or_none(name: str, value: str) -> None:
    try:
        made = head(f"{name}: {value}")
    except ConfigurationError:
        return
    lines = render_request_head(made).for_size(1).split(b"\r\n")
    assert len(lines) == 2 + 1 + len(made.fields) + made.expect_continue + 1 + 2
    assert not any(set(line) & set(b"\r\n\0") for line in lines)


def test_user_and_password_of_the_url_become_authorization() -> None:
    made = head(url="http://us%65r:p%40ss%3A@api.test/")
    assert made.fields[3:] == ((b"Authorization", b"Basic " + base64.b64encode(b"user:p@ss:")),)
    assert made.authority == b"api.test"
    assert made.target == b"/"


def test_a_given_authorization_replaces_that_of_the_url() -> None:
    made = head("authorization: Bearer t", url="http://user:pass@api.test/")
    assert made.fields[3:] == ((b"authorization", b"Bearer t"),)
    assert head("Authorization:", url="http://user:pass@api.test/").fields == (USER_AGENT, ACCEPT, JSON)


def test_path_and_query_are_the_target() -> None:
    assert head(url="http://api.test/c%20d?x=1&y=[2]#part").target == b"/c%20d?x=1&y=[2]"


def test_a_proxy_is_sent_the_whole_url() -> None:
    made = head(url="http://api.test:8080/v1?x=1", proxy="http://us:pw@proxy.test:3128")
    assert made.target == b"http://api.test:8080/v1?x=1"
    assert made.authority == b"api.test:8080"
    assert made.fields[3:] == ((b"Proxy-Authorization", b"Basic " + base64.b64encode(b"us:pw")),)


def test_a_proxy_without_a_password_gets_none() -> None:
    assert head(proxy="http://proxy.test").fields == (USER_AGENT, ACCEPT, JSON)


def test_without_keep_alive_the_server_is_asked_to_close() -> None:
    options = DeliveryOptions(parse_target("http://api.test/"), limits=Limits(disable_keep_alives=True))
    made = make_request_head(options, None)
    assert made.close
    assert b"\r\nConnection: close\r\n" in render_request_head(made).for_size(0)


@pytest.mark.parametrize(
    ("proxy", "target"), [(None, b"/health"), ("http://us:pw@proxy.test", b"http://api.test:8080/health")]
)
def test_the_safe_request_for_keeping_alive_is_like_the_others(proxy: str | None, target: bytes) -> None:
    options = DeliveryOptions(
        parse_target("http://api.test:8080/v1"),
        request=RequestOptions(method="PUT", headers=("Authorization: Bearer x", "Expect: 100-continue")),
        liveness=LivenessOptions(keepalive_path="/health"),
    )
    parsed = None if proxy is None else parse_target(proxy, "proxy URL")
    ordinary = make_request_head(options, parsed)
    made = make_keepalive_head(options, ordinary, parsed)
    assert made is not None
    assert (made.method, made.target, made.authority) == (b"GET", target, b"api.test:8080")
    assert made.fields == tuple(field for field in ordinary.fields if field != JSON)
    assert not made.expect_continue


def test_without_a_path_there_is_no_such_request() -> None:
    options = DeliveryOptions(parse_target("http://api.test/"))
    assert make_keepalive_head(options, make_request_head(options, None), None) is None


def test_a_tunnel_is_no_way_to_deliver() -> None:
    error = refused(method="CONNECT")
    assert str(error) == "-X CONNECT asks for a tunnel, which delivers nothing"
    assert error.hint == "give another method"
