"""Goodbyes that say what to do: go elsewhere, be calm, speak HTTP/1.1."""

from __future__ import annotations

import pytest
from pool_scene import MakeScene, bodies
from server_ends import Http1End

from livepost.events import CloseReason, HttpVersion
from livepost.model import Sent


def test_a_replacement_is_dialled_when_the_goodbye_comes_and_not_when_all_is_over(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(*bodies(200))
    server = scene.join()
    server.serve()
    server.say(server.http2.announce_the_end(199))
    assert (scene.pool.alive, scene.dialing) == (1, 1)
    assert scene.work.failures == []


@pytest.mark.parametrize("how", ["answers in it", "goodbye", "stream"])
def test_a_server_that_wants_http_1_1_gets_it(make_scene: MakeScene, how: str) -> None:
    scene = make_scene(max_conns_per_host=4)
    scene.post(*bodies(10))
    server = scene.join(greets=how != "answers in it")
    if how == "answers in it":
        server.say(b"HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n\r\n")
    elif how == "goodbye":
        server.say(server.http2.announce_the_end(0, 0xD))
    else:
        server.serve()
        server.say(server.http2.refuse(0xD))
        # What else is open goes on meanwhile.
        server.answer(3)
    assert scene.dialer.versions == [HttpVersion.HTTP_1_1]
    assert scene.observer.reasons == [CloseReason.HTTP_1_1_REQUIRED]
    assert {sent for _, sent, _ in scene.work.failures} == {Sent.REFUSED}
    assert scene.asked == []
    scene.work.add(*bodies(10))
    scene.wake()
    for _ in range(4):
        scene.join(Http1End())
    assert (scene.pool.alive, scene.dialing) == (4, 0)


def test_a_server_that_asks_for_calm_is_left_alone_ever_longer(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.delays = [1.0, 2.0, 4.0]
    scene.post(*bodies(1000))
    for times, pause in enumerate((1.0, 2.0, 4.0), 1):
        server = scene.join()
        server.serve()
        server.answer(10)
        server.say(server.http2.announce_the_end(19, 0xB))
        assert scene.pool.alive == 0
        assert scene.asked[-1] == ("the server asks for calm", times)
        scene.work.add(*bodies(100))
        scene.wake()
        assert scene.dialing == 0
        scene.time.advance(pause * 0.9)
        scene.turn()
        assert scene.dialing == 0
        scene.time.advance(pause * 0.1)
        scene.turn()
        assert scene.dialing == 1
    assert scene.observer.failed_dials == ["the server asks for calm"] * 3
    # Another end breaks the row.
    server = scene.join()
    server.serve()
    server.answer()
    server.peer.close()
    scene.turn()
    server = scene.join()
    server.say(server.http2.announce_the_end(0, 0xB))
    assert scene.asked[-1] == ("the server asks for calm", 1)


def test_while_a_call_for_calm_is_heeded_nothing_is_dialled_for_what_is_still_open(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.post(*bodies(200))
    server = scene.join()
    server.serve()
    server.say(server.http2.announce_the_end(199, 0xB))
    assert (scene.pool.alive, scene.dialing) == (1, 0)
    server.answer(64)
    assert scene.observer.reasons == [CloseReason.ENHANCE_YOUR_CALM]
    assert scene.asked == [("the server asks for calm", 1)]
    scene.time.advance(1.0)
    scene.turn()
    assert scene.dialing == 1
