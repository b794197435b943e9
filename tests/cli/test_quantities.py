from __future__ import annotations

import pytest

from livepost.cli.quantities import seconds, size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("2.", 2.0),
        ("0", 0.0),
        ("500ms", 0.5),
        ("90s", 90.0),
        ("90 s", 90.0),
        ("2m", 120.0),
        ("1.5h", 5400.0),
    ],
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "s", "-1", "+1", "1e3", "nan", "inf", "1us", "1S", "1 m s", "1,5", "٣", "1s\n"]
)
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time; write 90, 1\.5s, 500ms, 2m or 1h$"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1048576", 1048576),
        ("0", 0),
        ("1B", 1),
        ("1K", 1024),
        ("1k", 1024),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("16MiB", 16 * 1024**2),
        ("16 MiB", 16 * 1024**2),
        ("1M", 1048576),
        ("1m", 1048576),
        ("1MB", 1_000_000),
        ("2G", 2 * 1024**3),
        ("2GiB", 2 * 1024**3),
        ("2gb", 2 * 1000**3),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1.5M", "1T", "1Mi", "1_000", "٣", "1e3", "1M\n", "9" * 5000]
)
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write 1048576, 512K, 16MiB or 1M"):
        size(text)
