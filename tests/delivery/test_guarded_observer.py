from __future__ import annotations

from typing import Any

from livepost.delivery.guarded_observer import GuardedObserver


class Observer:
    """Raises where it is told of a record that was rejected."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[Any, ...]]] = []

    def finished(self, *what: Any) -> None:
        self.told.append(("finished", what))

    def retried(self, *what: Any) -> None:
        self.told.append(("retried", what))

    def rejected(self, *what: Any) -> None:
        raise ValueError("no")

    def left(self, *what: Any) -> None:
        self.told.append(("left", what))


def test_what_an_observer_raises_is_told_and_everything_else_reaches_it() -> None:
    observer = Observer()
    errors: list[Exception] = []
    guarded: Any = GuardedObserver(observer, errors.append)
    guarded.finished(1)
    guarded.retried(2)
    guarded.rejected(3)
    guarded.left(4)
    assert observer.told == [("finished", (1,)), ("retried", (2,)), ("left", (4,))]
    assert [str(error) for error in errors] == ["no"]
