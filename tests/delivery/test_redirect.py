from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.redirect import MOST_HOPS, Hops, Redirection, Refusal, no_proxy, redirect
from livepost.target import Target, parse_target
from livepost.wire.message import Fields, RequestHead, Response
from livepost.wire.request_head import render_request_head

FIELDS: Fields = (
    (b"User-Agent", b"livepost"),
    (b"Content-Type", b"application/json"),
    (b"Authorization", b"Bearer s3cret"),
    (b"Cookie", b"a=b"),
    (b"X-Api-Key", b"s3cret"),
    (b"Ocp-Apim-Subscription-Key", b"s3cret"),
    (b"X-Functions-Key", b"s3cret"),
    (b"DD-APPLICATION-KEY", b"s3cret"),
    (b"X-AccessKey", b"s3cret"),
    (b"Key", b"s3cret"),
    (b"X-Keyboard", b"qwerty"),
    (b"X-Auth-Token", b"s3cret"),
    (b"X-Trace", b"7"),
)


def head_of(target: Target, method: bytes = b"POST", *, through_proxy: bool = False) -> RequestHead:
    path = f"{target.scheme}://{target.authority}{target.path}" if through_proxy else target.path
    scheme = target.scheme.encode()
    return RequestHead(method, path.encode(), target.authority.encode(), scheme, FIELDS, expect_continue=True)


def _forwarded(target: Target) -> Target | None:
    return None if target.is_tls else parse_target("http://me:s3cret@proxy.test:3128")


def follow(
    location: str | bytes,
    *,
    status: int = 307,
    method: bytes = b"POST",
    url: str = "https://api.test/v1/items?x=1",
    has_body: bool = True,
    through_proxy: bool = False,
) -> Redirection | Refusal:
    target = parse_target(url)
    head = head_of(target, method, through_proxy=through_proxy)
    value = location if isinstance(location, bytes) else location.encode()
    response = Response(status, ((b"location", value),), b"")
    found = redirect(
        response,
        target,
        head,
        Hops.start(target, head),
        has_body=has_body,
        proxy_of=_forwarded if through_proxy else no_proxy,
    )
    return found if isinstance(found, Refusal) else found[0]


def followed(location: str | bytes, **how: object) -> Redirection:
    found = follow(location, **how)  # type: ignore[arg-type]
    assert isinstance(found, Redirection)
    return found


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"GET"])
def test_307_and_308_keep_all(status: int, method: bytes) -> None:
    found = followed("/v2", status=status, method=method)
    assert (found.head.method, found.keeps_body) == (method, True)
    assert (found.head.target, found.head.fields, found.head.expect_continue) == (b"/v2", FIELDS, True)


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE"])
def test_303_asks_for_something_else(method: bytes) -> None:
    found = followed("/v2", status=303, method=method)
    assert (found.head.method, found.keeps_body, found.head.expect_continue) == (b"GET", False, False)
    assert b"Content-Type" not in dict(found.head.fields)
    assert followed("/v2", status=303, method=b"HEAD").head.method == b"HEAD"


@pytest.mark.parametrize("status", [301, 302])
def test_301_and_302_would_make_a_get_of_a_post_and_lose_the_record(status: int) -> None:
    assert follow("/v2", status=status) is Refusal.LOSES_BODY
    empty = followed("/v2", status=status, has_body=False)
    assert (empty.head.method, empty.keeps_body) == (b"GET", False)
    put = followed("/v2", status=status, method=b"PUT")
    assert (put.head.method, put.keeps_body) == (b"PUT", True)


@pytest.mark.parametrize("status", [200, 300, 304, 305, 404])
def test_nothing_else_is_a_redirect(status: int) -> None:
    assert follow("/v2", status=status) is Refusal.NO_REDIRECT


@pytest.mark.parametrize(
    ("location", "address"),
    [
        ("/v2?y=2#part", "https://api.test/v2?y=2"),
        ("other", "https://api.test/v1/other"),
        ("../up", "https://api.test/up"),
        ("?y=2", "https://api.test/v1/items?y=2"),
        ("//other.test/x", "https://other.test/x"),
        ("https://other.test:8443/x", "https://other.test:8443/x"),
        ("HTTPS://API.TEST:443/x", "https://api.test/x"),
        ("/caf\u00e9", "https://api.test/caf%C3%A9"),
        (b"/caf\xe9", "https://api.test/caf%E9"),
    ],
)
def test_addresses_are_resolved_against_the_request(location: str | bytes, address: str) -> None:
    found = followed(location)
    made = found.target
    assert f"{made.scheme}://{made.authority}{made.path}" == address
    assert found.head.target == made.path.encode()
    assert found.head.authority == made.authority.encode()


@pytest.mark.parametrize("same", ["/x", "https://api.test/x", "https://api.test:443/x"])
def test_credentials_are_kept_on_the_same_origin(same: str) -> None:
    found = followed(same)
    assert found.is_same_origin
    assert found.head.fields == FIELDS


@pytest.mark.parametrize("other", ["https://evil.test/x", "https://api.test:8443/x", "//sub.api.test/x"])
def test_and_go_nowhere_else(other: str) -> None:
    found = followed(other, url="https://user:s3cret@api.test/")
    assert not found.is_same_origin
    assert [name for name, _ in found.head.fields] == [
        *(b"User-Agent", b"Content-Type", b"X-Keyboard", b"X-Trace")
    ]
    assert found.target.authorization is None


def test_from_http_to_https_is_another_origin() -> None:
    found = followed("https://api.test/x", url="http://api.test/")
    assert not found.is_same_origin
    assert b"Authorization" not in dict(found.head.fields)
    assert found.head.scheme == b"https"


def test_credentials_in_the_location_count_for_nothing() -> None:
    found = followed("https://user:pw@api.test/x", url="https://me:mine@api.test/")
    assert found.target.authorization == parse_target("https://me:mine@api.test/").authorization
    assert followed("https://user:pw@api.test/x").target.authorization is None


def test_it_never_leads_out_of_tls() -> None:
    assert follow("http://api.test/x") is Refusal.DOWNGRADE


@pytest.mark.parametrize(
    "location",
    ["ftp://api.test/", "https://[::1", "/a b", "/a\x00", "https://api.test:0/", "//:1/"],
)
def test_a_malformed_address_is_refused(location: str) -> None:
    assert follow(location) is Refusal.MALFORMED


def test_no_address_is_refused() -> None:
    assert follow("") is Refusal.NO_LOCATION
    target = parse_target("https://api.test/")
    head = head_of(target)
    assert (
        redirect(Response(307, (), b""), target, head, Hops.start(target, head), has_body=True)
        is Refusal.NO_LOCATION
    )


def test_a_host_of_the_users_is_kept_on_the_same_origin_only() -> None:
    target = parse_target("https://10.0.0.1/")
    head = RequestHead(b"PUT", b"/", b"api.test", b"https", ())
    for location, authority in [(b"/x", b"api.test"), (b"https://other.test/", b"other.test")]:
        response = Response(307, ((b"location", location),), b"")
        found = redirect(response, target, head, Hops.start(target, head), has_body=True)
        assert not isinstance(found, Refusal)
        assert found[0].head.authority == authority


def test_a_proxy_is_sent_the_whole_address() -> None:
    http = {"url": "http://api.test/", "through_proxy": True}
    assert followed("/x", **http).head.target == b"http://api.test/x"
    assert followed("http://other.test/x", **http).head.target == b"http://other.test/x"
    assert followed("https://other.test/x", **http).head.target == b"/x"


def chain(*locations: str, status: int = 307) -> list[Refusal | str]:
    target = parse_target("https://api.test/0")
    head = head_of(target)
    hops = Hops.start(target, head)
    way: list[Refusal | str] = []
    for location in locations:
        response = Response(status, ((b"location", location.encode()),), b"")
        found = redirect(response, target, head, hops, has_body=True)
        if isinstance(found, Refusal):
            way.append(found)
            break
        redirection, hops = found
        target, head = redirection.target, redirection.head
        way.append(target.path)
    return way


def test_a_circle_is_noticed() -> None:
    assert chain("/0") == [Refusal.LOOP]
    assert chain("/1", "/2", "/1") == ["/1", "/2", Refusal.LOOP]
    assert chain("/1", "/2", "/0#x") == ["/1", "/2", Refusal.LOOP]


def test_at_most_ten_are_followed() -> None:
    way = chain(*(f"/{number}" for number in range(1, 20)))
    assert way == [*(f"/{number}" for number in range(1, MOST_HOPS + 1)), Refusal.TOO_MANY]


def test_all_records_on_one_way_share_their_head() -> None:
    target = parse_target("https://api.test/0")
    head = head_of(target)
    answers = [Response(307, ((b"location", b"/1"),), b"") for _ in range(2)]
    one, other = (redirect(each, target, head, Hops.start(target, head), has_body=True) for each in answers)
    assert not isinstance(one, Refusal)
    assert not isinstance(other, Refusal)
    assert one[0].head is other[0].head


@given(
    st.binary(max_size=30) | st.text(max_size=30).map(str.encode), st.sampled_from([301, 302, 303, 307, 308])
)
def test_whatever_a_server_sends_is_one_request_or_none(location: bytes, status: int) -> None:
    found = follow(location, status=status, method=b"PUT")
    if isinstance(found, Refusal):
        return
    rendered = render_request_head(found.head).for_size(0)
    assert rendered.count(b"\r\n") == 3 + len(found.head.fields) + 1 + (found.head.method == b"PUT")
    assert found.is_same_origin or b"s3cret" not in rendered
