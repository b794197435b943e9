from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepost.delivery.idempotency import IdempotencyKeys
from livepost.errors import ConfigurationError
from livepost.policy import RetryOptions

RUN = uuid.UUID("9b8f1b3e-52a3-4a7e-8a3f-0e0d6f8f4f10")


def keys(header: str = "Idempotency-Key", *, quoted: bool = True) -> IdempotencyKeys:
    return IdempotencyKeys(RUN, header, quoted=quoted)


@given(st.uuids(), st.integers(0, 10**12))
def test_a_key_is_the_uuid_5_of_run_and_record(run: uuid.UUID, number: int) -> None:
    made = IdempotencyKeys(run, "Idempotency-Key", quoted=True).key(number)
    assert made == str(uuid.uuid5(run, str(number))).encode()


def test_a_key_stays_the_same_over_attempts_and_restarts() -> None:
    same = keys()
    assert same.key(7) == same.key(7) == keys().key(7)
    assert len({same.key(number) for number in range(1000)}) == 1000


def test_it_is_quoted_or_bare() -> None:
    key = str(uuid.uuid5(RUN, "7")).encode()
    assert keys().field(7) == (b"Idempotency-Key", b'"' + key + b'"')
    assert keys("X-Request-Id", quoted=False).field(7) == (b"X-Request-Id", key)
    assert keys().line(7) == b'Idempotency-Key: "' + key + b'"\r\n'
    assert keys(quoted=False).line(7) == b"Idempotency-Key: " + key + b"\r\n"


def test_it_is_made_from_the_options() -> None:
    assert IdempotencyKeys.of(RUN, RetryOptions(), ()) is None
    made = IdempotencyKeys.of(RUN, RetryOptions(idempotency_key="X", idempotency_key_format="raw"), ())
    assert made is not None
    assert made.field(1) == (b"X", str(uuid.uuid5(RUN, "1")).encode())


@pytest.mark.parametrize("header", ["", "X Y", "X:", "X\r\nEvil: 1", "Ü", "\udcff"])
def test_a_name_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no header name$"):
        keys(header)


@pytest.mark.parametrize("header", ["Host", "content-length", "Transfer-Encoding"])
def test_what_frames_the_message_is_the_engines(header: str) -> None:
    with pytest.raises(ConfigurationError, match="livepost sets this header itself"):
        keys(header)


def test_one_key_for_all_records_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="every record would have the same key") as caught:
        IdempotencyKeys(RUN, "Idempotency-Key", quoted=True, fields=((b"idempotency-key", b"secret"),))
    assert "secret" not in f"{caught.value} {caught.value.hint}"
