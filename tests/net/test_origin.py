from __future__ import annotations

import pytest

from livepost.net.origin import Origin
from livepost.target import parse_target

PROXY = parse_target("http://user:secret@proxy.test:3128/")


@pytest.mark.parametrize(
    ("url", "proxied", "unix_socket", "shown"),
    [
        ("https://user:secret@api.test/v1?token=secret", False, None, "https://api.test:443"),
        ("http://API.test:8080/", False, None, "http://api.test:8080"),
        ("http://[::1]:8080/", False, None, "http://[::1]:8080"),
        ("http://api.test/", True, None, "proxy://proxy.test:3128"),
        ("https://api.test/", True, None, "https://api.test:443"),
        ("http://api.test/", False, "/run/api.sock", "unix:///run/api.sock:0"),
    ],
)
def test_it_is_where_connections_end(url: str, proxied: bool, unix_socket: str | None, shown: str) -> None:
    assert str(Origin.of(parse_target(url), PROXY if proxied else None, unix_socket)) == shown
