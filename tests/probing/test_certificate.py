from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from probing_peers import NOW

from livepost.probing.certificate import describe
from livepost.probing.findings import Certificate


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        (((("organizationName", "Acme"),), (("commonName", "a.test"),)), "a.test"),
        (((("organizationName", "Acme"),),), "Acme"),
        ((), "unnamed"),
    ],
)
def test_a_certificate_in_our_words(subject: Any, name: str) -> None:
    decoded = {
        "subject": subject,
        "issuer": ((("commonName", "An Authority"),),),
        "subjectAltName": (("DNS", "a.test"), ("email", "a@a.test"), ("IP Address", "127.0.0.1")),
        "notAfter": "Dec  5 12:00:00 2026 GMT",
    }
    assert describe(decoded, NOW.replace(microsecond=0), is_verified=True) == Certificate(
        name, ("a.test", "127.0.0.1"), "An Authority", datetime(2026, 12, 5, 12, tzinfo=UTC), 10.0, True
    )
