from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.errors import ConfigurationError
from livepost.target import Target, parse_target


def refused(url: str, what: str = "URL") -> str:
    """The whole of what is said about this URL, in two lines."""
    with pytest.raises(ConfigurationError) as caught:
        parse_target(url, what)
    return f"{caught.value}\n{caught.value.hint}"


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "path", "authority"),
    [
        ("http://api.test", "http", "api.test", 80, "/", "api.test"),
        ("https://api.test", "https", "api.test", 443, "/", "api.test"),
        ("http://api.test:80/", "http", "api.test", 80, "/", "api.test"),
        ("http://api.test:443/", "http", "api.test", 443, "/", "api.test:443"),
        ("https://api.test:8443/v1/x", "https", "api.test", 8443, "/v1/x", "api.test:8443"),
        ("HTTPS://API.Test/V1", "https", "api.test", 443, "/V1", "api.test"),
        ("http://api.test:/x", "http", "api.test", 80, "/x", "api.test"),
        ("http://api.test?a=1", "http", "api.test", 80, "/?a=1", "api.test"),
        ("http://api.test/p?a=1&b=%20[]|'#f?x", "http", "api.test", 80, "/p?a=1&b=%20[]|'", "api.test"),
        ("http://api.test/a//b/../c", "http", "api.test", 80, "/a//b/../c", "api.test"),
        ("http://api.test/ü?q=ß", "http", "api.test", 80, "/%C3%BC?q=%C3%9F", "api.test"),
        ('http://api.test/a"b\\c<d>', "http", "api.test", 80, "/a%22b%5Cc%3Cd%3E", "api.test"),
        ("http://api.test/\udcff", "http", "api.test", 80, "/%FF", "api.test"),
        ("http://bücher.test/", "http", "xn--bcher-kva.test", 80, "/", "xn--bcher-kva.test"),
        ("http://127.0.0.1:8080/", "http", "127.0.0.1", 8080, "/", "127.0.0.1:8080"),
        ("http://[::1]/", "http", "::1", 80, "/", "[::1]"),
        ("https://[FE80::1%25eth0]:8443/", "https", "fe80::1%eth0", 8443, "/", "[fe80::1%eth0]:8443"),
        ("https://[fe80::1%eth0]/", "https", "fe80::1%eth0", 443, "/", "[fe80::1%eth0]"),
        ("http://my_host.test./", "http", "my_host.test.", 80, "/", "my_host.test."),
        ("http://user@api.test/a@b", "http", "api.test", 80, "/a@b", "api.test"),
    ],
)
def test_a_url_is_taken_apart(url: str, scheme: str, host: str, port: int, path: str, authority: str) -> None:
    target = parse_target(url)
    assert (target.scheme, target.host, target.port, target.path) == (scheme, host, port, path)
    assert target.authority == authority
    assert target.is_tls is (scheme == "https")


def test_connect_is_always_told_the_port() -> None:
    assert parse_target("https://api.test/").host_and_port == "api.test:443"
    assert parse_target("https://[::1]/").host_and_port == "[::1]:443"


@pytest.mark.parametrize(
    ("userinfo", "pair"),
    [
        ("user:pass", b"user:pass"),
        ("user", b"user:"),
        (":pass", b":pass"),
        ("user:", b"user:"),
        ("us%40er:p%3Aa%2Fss", b"us@er:p:a/ss"),
        ("user:pa@ss", b"user:pa@ss"),
        ("user:a:b", b"user:a:b"),
        ("üser:%FF", "üser:".encode() + b"\xff"),
        ("user:\udcff", b"user:\xff"),
    ],
)
def test_credentials_become_a_field_value_and_are_never_shown(userinfo: str, pair: bytes) -> None:
    target = parse_target(f"http://{userinfo}@api.test/v1?token=t0ken")
    assert target.authorization == b"Basic " + base64.b64encode(pair)
    assert target.host == "api.test"
    assert str(target) == "http://api.test/v1"
    assert "Basic" not in repr(target)
    assert userinfo not in repr(target)


def test_no_credentials_are_no_authorization() -> None:
    assert parse_target("http://api.test/").authorization is None


@pytest.mark.parametrize("evil", ["\r", "\n", "\r\nX-Evil: 1", "\0", "\t", " ", "\x1b", "\x7f"])
@pytest.mark.parametrize(
    "url", ["http://api{}.test/", "http://api.test/{}", "{}http://api.test/", "http://a:{}@b/"]
)
def test_no_control_character_or_space_gets_in(url: str, evil: str) -> None:
    assert refused(url.format(evil)) == (
        "the URL contains a space or a control character\npercent-encode it (a space is %20)"
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "the URL has no scheme: "),
        ("localhost:8080/api", "the URL has no scheme: localhost:8080/api"),
        ("//api.test/", "the URL has no scheme: //api.test/"),
        ("://api.test/", "the URL has no scheme: ://api.test/"),
        ("/api", "the URL has no scheme: /api"),
        ("localhost/?next=http://x", "the URL has no scheme: localhost/"),
        ("ftp://api.test/", "the URL's scheme is not supported: ftp"),
        ("http://", "the URL names no host"),
        ("http:///path", "the URL names no host"),
        ("http://:80/", "the URL names no host"),
        ("http://user:pass@/", "the URL names no host"),
        ("http://api.test:0/", "the URL names port 0, which nothing can listen on"),
        (
            "http://api.test:65536/",
            "the URL names a port that is not a number from 1 to 65535: http://api.test:65536/",
        ),
        (
            "http://api.test:port/",
            "the URL names a port that is not a number from 1 to 65535: http://api.test:port/",
        ),
        (
            "http://api.test:-1/",
            "the URL names a port that is not a number from 1 to 65535: http://api.test:-1/",
        ),
        ("http://[::1/", "the URL cannot be understood: http://[::1/"),
        ("http://[api.test]/", "the URL cannot be understood: http://[api.test]/"),
        ("http://[::1]8080/", "the URL cannot be understood: http://[::1]8080/"),
        ("http://[::1]x:80/", "the URL cannot be understood: http://[::1]x:80/"),
        ("http://x[::1]/", "the URL cannot be understood: http://x[::1]/"),
        ("http://[v1.x]/", "the URL cannot be understood: http://[v1.x]/"),
        ("http://straße.test/", "the URL's host can be read as two names: http://straße.test/"),
        ("http://ΣΟΦΟΣ.βασιλεύς/", "the URL's host can be read as two names: http://ΣΟΦΟΣ.βασιλεύς/"),
        ("http://a\u200db.test/", "the URL's host can be read as two names: http://a\u200db.test/"),
        ("http://a..b/", "the URL's host is not a valid name: http://a..b/"),
        (f"http://{'a' * 64}.test/", f"the URL's host is not a valid name: http://{'a' * 64}.test/"),
        ("http://a<b/", "the URL's host is not a valid name: http://a<b/"),
        ('http://a"b/', "the URL's host is not a valid name: http://a\"b/"),
        ("http://\udcff/", "the URL's host is not a valid name: http://\udcff/"),
    ],
)
def test_what_is_wrong_is_said(url: str, said: str) -> None:
    sentence, _, hint = refused(url).partition("\n")
    assert sentence == said
    assert hint


@pytest.mark.parametrize(
    "url",
    [
        "user:s3cret@api.test/",
        "user:s3cret@http://api.test/",
        "user:s3cret@ftp://api.test/",
        "http://user:s3/cret@api.test/",
        "http://user:s3?cret@api.test/",
        "http://user:s3#cret@api.test/",
        "http://user:s3cret@api.test:x/",
        "http://user:s3cret@api.test:0/",
        "http://user:s3cret@a..b/",
        "http://user:s3cret@ho\u2100st/",
        "http://user:s3cret@/",
        "http://a..b/?token=s3cret",
        "http://a..b/#s3cret",
        "api.test/?token=s3cret",
        "api.test/?mail=a@b&token=s3cret",
    ],
)
def test_no_secret_is_repeated(url: str) -> None:
    said = refused(url, "proxy URL")
    assert said.startswith("the proxy URL")
    assert "s3" not in said
    assert "cret" not in said


@given(st.text())
def test_any_text_is_a_url_or_is_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"http://api.test/{text}"):
        try:
            target = parse_target(url)
        except ConfigurationError:
            continue
        line = f"{target.path} {target.authority} {target.host_and_port} {target}"
        assert line.isascii()
        assert line.isprintable()
        assert " " not in target.path
        assert target.path.startswith("/")
        assert 1 <= target.port <= 65535


def test_equal_urls_are_equal_targets() -> None:
    assert parse_target("http://API.test:80") == Target("http", "api.test", 80, "/")
