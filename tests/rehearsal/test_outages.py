from __future__ import annotations

import socket
from collections.abc import Callable
from typing import cast

import pytest
from practice_talk import ManualLoop, run

from livepost.rehearsal.fault_plan import TimedFault
from livepost.rehearsal.faults import Fault, FaultKind
from livepost.rehearsal.listener import Listener
from livepost.rehearsal.outages import Outages


class FakeListener:
    """Remembers what state it is in."""

    def __init__(self) -> None:
        self.states = ["accepting"]

    def start(self, on_accept: Callable[[socket.socket], None]) -> None:
        self.states.append("accepting")

    def pause(self) -> None:
        self.states.append("paused")

    def refuse(self) -> None:
        self.states.append("refusing")


class Scene:
    def __init__(self) -> None:
        self.listener = FakeListener()
        self.crashes = 0
        self.begun: list[Fault] = []
        self.outages = Outages(
            cast(Listener, self.listener),
            on_accept=lambda sock: None,
            on_crash=self.crash,
            on_begin=self.begun.append,
        )

    def crash(self) -> None:
        assert self.state == "refusing"  # else those that are reset could come back at once
        self.crashes += 1

    @property
    def state(self) -> str:
        return self.listener.states[-1]


@pytest.mark.parametrize(
    ("kind", "state", "crashes"),
    [
        (FaultKind.OUTAGE, "refusing", 1),
        (FaultKind.REFUSE, "refusing", 0),
        (FaultKind.NO_ACCEPT, "paused", 0),
    ],
)
def test_an_outage_begins_and_ends(kind: FaultKind, state: str, crashes: int) -> None:
    async def steps(loop: ManualLoop) -> None:
        scene = Scene()
        fault = Fault(kind, lasts_seconds=20)
        scene.outages.schedule([TimedFault(5, fault)])
        await loop.advance(4.9)
        assert (scene.state, scene.begun) == ("accepting", [])
        await loop.advance(0.2)
        assert (scene.state, scene.crashes, scene.begun) == (state, crashes, [fault])
        await loop.advance(19.8)
        assert scene.state == state
        await loop.advance(0.3)
        assert (scene.state, scene.crashes) == ("accepting", crashes)

    run(steps)


def test_one_at_the_start_begins_at_once_and_may_never_end() -> None:
    async def steps(loop: ManualLoop) -> None:
        scene = Scene()
        scene.outages.schedule([TimedFault(0, Fault(FaultKind.REFUSE))])
        assert scene.state == "refusing"
        await loop.advance(1e9)
        assert scene.state == "refusing"

    run(steps)


def test_of_outages_that_overlap_the_worst_holds() -> None:
    async def steps(loop: ManualLoop) -> None:
        scene = Scene()
        scene.outages.begin(Fault(FaultKind.NO_ACCEPT, lasts_seconds=10))
        scene.outages.begin(Fault(FaultKind.REFUSE, lasts_seconds=5))
        scene.outages.begin(Fault(FaultKind.REFUSE, lasts_seconds=3))
        states = [scene.state]
        for _ in range(3):
            await loop.advance(3.4)
            states.append(scene.state)
        assert states == ["refusing", "refusing", "paused", "accepting"]

    run(steps)


def test_after_close_nothing_begins_or_ends() -> None:
    async def steps(loop: ManualLoop) -> None:
        scene = Scene()
        scene.outages.schedule([TimedFault(1, Fault(FaultKind.REFUSE))])
        scene.outages.begin(Fault(FaultKind.NO_ACCEPT, lasts_seconds=1))
        scene.outages.close()
        states = list(scene.listener.states)
        await loop.advance(2)
        assert scene.listener.states == states

    run(steps)
