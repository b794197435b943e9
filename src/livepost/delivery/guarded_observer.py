"""An observer of somebody else's."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

from livepost.delivery.account import DeliveryObserver

Arguments = ParamSpec("Arguments")


class GuardedObserver:
    """Passes everything on to an observer; what goes wrong there ends the run, not the event loop."""

    def __init__(self, observer: DeliveryObserver, fail: Callable[[Exception], None]) -> None:
        self.finished = _guarded(observer.finished, fail)
        self.retried = _guarded(observer.retried, fail)
        self.rejected = _guarded(observer.rejected, fail)
        self.left = _guarded(observer.left, fail)


def _guarded(call: Callable[Arguments, None], fail: Callable[[Exception], None]) -> Callable[Arguments, None]:
    def guarded(*arguments: Arguments.args, **named: Arguments.kwargs) -> None:
        try:
            call(*arguments, **named)
        except Exception as error:  # noqa: BLE001  not hidden: it ends the run
            fail(error)

    return guarded
