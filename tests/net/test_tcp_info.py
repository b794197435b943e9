"""What TCP proves, over loopback, through a proxy that ends TCP, and over a wire that delays and loses."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from net_fakes import tcp_pair
from packet_wire import Packet, PacketWire

from livepost.net.tcp_info import Proof, TcpEnd, TcpProgress, judge, read_progress

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")

REQUEST = b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Ending:
    """How a request ended for the client, and what the server had of it."""

    before: TcpProgress | None
    after: TcpProgress | None
    ended_by_eof: bool
    proof: Proof


class Talk:
    """One connection, whose client sends a request and looks how it ends."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        for sock in (client, server):
            sock.settimeout(10)
        self._before: TcpProgress | None = None
        self._ended_by_eof = False
        self.received = 0
        """How many bytes the server has read."""

    def send(self, request: bytes = REQUEST) -> None:
        self._before = read_progress(self.client)
        self.client.sendall(request)

    def wait_for_end(self) -> Ending:
        try:
            while self.client.recv(65_536):
                pass
            self._ended_by_eof = True
        except OSError:
            self._ended_by_eof = False
        return self.look()

    def look(self) -> Ending:
        after = read_progress(self.client)
        proof = judge(self._before, after)
        return Ending(self._before, after, self._ended_by_eof, proof)

    def look_until_decided(self, seconds: float = 5.0) -> Ending:
        """As `look`, as soon as there is more to see."""
        give_up_at = time.monotonic() + seconds
        ending = self.look()
        while ending.proof is Proof.NOT_YET and time.monotonic() < give_up_at:
            time.sleep(0.005)
            ending = self.look()
        return ending

    def abort_server(self) -> None:
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.close()

    def close(self) -> None:
        self.client.close()
        self.server.close()


def acked(ending: Ending) -> int:
    assert ending.before is not None
    assert ending.after is not None
    return ending.after.bytes_acked - ending.before.bytes_acked


@pytest.fixture
def talk() -> Iterator[Talk]:
    """Over loopback."""
    talk = Talk(*tcp_pair())
    yield talk
    talk.close()


@pytest.fixture
def wire() -> Iterator[PacketWire]:
    try:
        wire = PacketWire(delay_seconds=0.02)
    except OSError as error:
        pytest.skip(f"network namespaces with a TUN device need root: {error}")
    with wire:
        yield wire


@pytest.fixture
def far_talk(wire: PacketWire) -> Iterator[Talk]:
    """Over a wire of 20 ms each way."""
    talk = Talk(*wire.connect())
    yield talk
    talk.close()


@pytest.mark.parametrize(
    ("acked", "end", "proof"),
    [
        (7, TcpEnd.FIN_THEN_RST, Proof.REFUSED),
        (7, TcpEnd.FIN, Proof.NOT_YET),
        (7, TcpEnd.OPEN, Proof.NONE),
        (7, TcpEnd.OTHER, Proof.NONE),
        *((acked, end, Proof.NONE) for acked in (6, 8) for end in TcpEnd),
    ],
)
def test_only_all_of_it_together_is_proof(acked: int, end: TcpEnd, proof: Proof) -> None:
    before, after = TcpProgress(7, TcpEnd.OPEN), TcpProgress(acked, end)
    assert judge(before, after) is proof
    assert judge(None, after) is judge(before, None) is Proof.NONE


def test_acknowledged_bytes_are_counted(talk: Talk) -> None:
    before = read_progress(talk.client)
    assert before is not None
    talk.client.sendall(REQUEST)
    assert talk.server.recv(1000) == REQUEST
    after = read_progress(talk.client)
    assert after is not None
    assert after.bytes_acked - before.bytes_acked == len(REQUEST)
    assert after.end is TcpEnd.OPEN


def test_the_end_is_told(talk: Talk) -> None:
    def end() -> TcpEnd:
        progress = read_progress(talk.client)
        assert progress is not None
        return progress.end

    talk.server.shutdown(socket.SHUT_WR)
    assert end() is TcpEnd.FIN
    talk.server.close()
    assert end() is TcpEnd.FIN
    talk.client.sendall(REQUEST)
    assert end() is TcpEnd.FIN_THEN_RST
    # The error has been taken.
    assert end() is TcpEnd.OTHER


def test_the_pending_error_can_be_left_for_the_next_read(talk: Talk) -> None:
    talk.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    talk.server.close()
    progress = read_progress(talk.client, keeps_error=True)
    assert progress is not None
    assert progress.end is TcpEnd.OTHER
    with pytest.raises(ConnectionResetError):
        talk.client.recv(1)


def test_the_round_trip_is_told(talk: Talk) -> None:
    progress = read_progress(talk.client)
    assert progress is not None
    assert 0 < progress.round_trip_seconds < 1


def test_an_end_that_a_write_has_noticed_is_not_told_again(talk: Talk) -> None:
    talk.server.close()
    talk.send()
    with pytest.raises(BrokenPipeError):
        talk.client.sendall(REQUEST)
    assert talk.wait_for_end().proof is Proof.NONE


def test_an_abort_that_a_write_has_noticed_is_not_taken_for_a_close(talk: Talk) -> None:
    """Then reading gives an end of file."""
    talk.send()
    talk.abort_server()
    with pytest.raises(ConnectionResetError):
        talk.client.sendall(REQUEST)
    ending = talk.wait_for_end()
    assert (ending.ended_by_eof, ending.proof) == (True, Proof.NONE)


def test_what_is_no_tcp_has_no_progress() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert read_progress(ours) is None
    assert read_progress(ours) is None


@pytest.mark.parametrize("size", [0, 8, 104, 127])
def test_an_old_kernel_that_does_not_count_has_no_progress(size: int) -> None:
    class OldSocket(socket.socket):
        def getsockopt(self, *arguments: int) -> bytes:  # type: ignore[override]
            return bytes(size)

    with OldSocket() as sock:
        assert read_progress(sock) is None


def test_elsewhere_there_is_no_progress(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert read_progress(talk.client) is None


def test_loopback_a_server_that_closed_before_the_request(talk: Talk) -> None:
    talk.server.close()
    talk.send()
    ending = talk.wait_for_end()
    assert (ending.ended_by_eof, acked(ending), ending.proof) == (True, 0, Proof.REFUSED)


def test_loopback_over_many_requests_before(talk: Talk) -> None:
    for _ in range(20):
        talk.send()
        assert talk.server.recv(1000) == REQUEST
        talk.server.sendall(b"answer")
        assert talk.client.recv(1000) == b"answer"
    talk.server.close()
    talk.send()
    assert talk.wait_for_end().proof is Proof.REFUSED


def test_loopback_a_server_that_closed_only_its_sending_side(talk: Talk) -> None:
    talk.server.shutdown(socket.SHUT_WR)
    talk.send()
    ending = talk.wait_for_end()
    assert (ending.ended_by_eof, ending.proof) == (True, Proof.NONE)
    assert talk.server.recv(1000) == REQUEST


def test_loopback_a_server_that_read_and_closed(talk: Talk) -> None:
    talk.send()
    assert talk.server.recv(1000) == REQUEST
    talk.server.close()
    ending = talk.wait_for_end()
    assert (ending.ended_by_eof, acked(ending), ending.proof) == (True, len(REQUEST), Proof.NONE)


def test_loopback_a_server_that_read_and_aborted(talk: Talk) -> None:
    talk.send()
    assert talk.server.recv(1000) == REQUEST
    talk.abort_server()
    ending = talk.wait_for_end()
    assert (ending.ended_by_eof, ending.proof) == (False, Proof.NONE)


def test_loopback_a_server_that_closed_without_reading_what_it_had(talk: Talk) -> None:
    talk.send()
    while not talk.server.recv(1, socket.MSG_PEEK):
        pass
    talk.server.close()
    assert talk.wait_for_end().proof is Proof.NONE


def test_loopback_a_server_that_answered_a_part_and_closed(talk: Talk) -> None:
    talk.send()
    talk.server.recv(1000)
    talk.server.sendall(b"HTTP/1.1 20")
    talk.server.close()
    assert talk.wait_for_end().proof is Proof.NONE


def test_loopback_a_long_request_that_was_received_in_part(talk: Talk) -> None:
    talk.send(b"x" * 100_000)
    assert talk.server.recv(1000) == b"x" * 1000
    talk.server.close()
    assert talk.wait_for_end().proof is Proof.NONE


def test_behind_a_proxy_that_ends_tcp_nothing_is_proved_of_the_server() -> None:
    """What the proxy has received is acknowledged, so the proof is lost, but none is given that is wrong."""
    client, near = tcp_pair()
    far, server = tcp_pair()
    talk = Talk(client, server)

    def forward(source: socket.socket, sink: socket.socket) -> None:
        source.settimeout(10)
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(0.05)
                sink.sendall(data)
            time.sleep(0.05)
            sink.shutdown(socket.SHUT_WR)

    threads = [threading.Thread(target=forward, args=ends) for ends in ((near, far), (far, near))]
    for thread in threads:
        thread.start()
    # The server closes before the request comes to it, and the proxy has not noticed when it does.
    server.close()
    talk.send()
    ending = talk.wait_for_end()
    assert (ending.ended_by_eof, ending.proof) == (True, Proof.NONE)
    talk.close()
    for thread in threads:
        thread.join(10)
    near.close()
    far.close()


def test_far_a_close_that_crosses_the_request_is_proved_a_round_trip_later(far_talk: Talk) -> None:
    far_talk.server.close()
    far_talk.send()
    ending = far_talk.wait_for_end()
    assert (ending.ended_by_eof, acked(ending), ending.proof) == (True, 0, Proof.NOT_YET)
    began = time.monotonic()
    assert far_talk.look_until_decided().proof is Proof.REFUSED
    assert time.monotonic() - began < 0.2


def test_far_a_half_close_that_crosses_the_request_proves_nothing_when_it_comes(far_talk: Talk) -> None:
    """Nothing is acknowledged when the FIN is here, and yet the server can read the request."""
    far_talk.server.shutdown(socket.SHUT_WR)
    far_talk.send()
    ending = far_talk.wait_for_end()
    assert (ending.ended_by_eof, acked(ending), ending.proof) == (True, 0, Proof.NOT_YET)
    assert far_talk.server.recv(1000) == REQUEST
    assert far_talk.look_until_decided().proof is Proof.NONE


def test_far_the_fin_repeats_an_acknowledgement_that_was_lost(wire: PacketWire, far_talk: Talk) -> None:
    wire.loses = lambda packet: packet.is_to_client and packet.is_pure_ack
    far_talk.send()
    assert far_talk.server.recv(1000) == REQUEST
    far_talk.server.close()
    ending = far_talk.wait_for_end()
    assert len(wire.lost) >= 1
    assert (ending.ended_by_eof, acked(ending), ending.proof) == (True, len(REQUEST), Proof.NONE)


def test_far_a_server_that_read_and_aborted_looks_as_if_it_had_received_nothing(
    wire: PacketWire, far_talk: Talk
) -> None:
    """But there is no FIN."""
    wire.loses = lambda packet: packet.is_to_client and packet.is_pure_ack
    far_talk.send()
    assert far_talk.server.recv(1000) == REQUEST
    far_talk.abort_server()
    ending = far_talk.wait_for_end()
    assert (ending.ended_by_eof, acked(ending), ending.proof) == (False, 0, Proof.NONE)


def test_far_a_fin_that_was_lost_makes_a_close_look_like_an_abort(wire: PacketWire, far_talk: Talk) -> None:
    wire.loses = lambda packet: packet.is_to_client and packet.has_fin
    far_talk.server.close()
    far_talk.send()
    ending = far_talk.wait_for_end()
    assert (ending.ended_by_eof, acked(ending), ending.proof) == (False, 0, Proof.NONE)


def test_far_an_rst_that_was_lost_comes_again(wire: PacketWire, far_talk: Talk) -> None:
    resets: list[Packet] = []

    def is_first_rst(packet: Packet) -> bool:
        resets.extend([packet] * packet.has_rst)
        return packet.has_rst and len(resets) == 1

    wire.loses = is_first_rst
    far_talk.server.close()
    far_talk.send()
    assert far_talk.wait_for_end().proof is Proof.NOT_YET
    assert far_talk.look_until_decided().proof is Proof.REFUSED
    assert len(wire.lost) == 1


def test_far_a_connection_that_times_out_after_the_fin_proves_nothing(
    wire: PacketWire, far_talk: Talk
) -> None:
    """It is gone, but nobody has said that the request was not read."""
    far_talk.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    far_talk.server.shutdown(socket.SHUT_WR)
    assert far_talk.client.recv(1) == b""
    wire.loses = lambda packet: packet.is_to_client
    far_talk.send()
    assert far_talk.wait_for_end().proof is Proof.NOT_YET
    assert far_talk.server.recv(1000) == REQUEST
    ending = far_talk.look_until_decided()
    assert (acked(ending), ending.proof) == (0, Proof.NONE)
    assert ending.after is not None
    assert ending.after.end is TcpEnd.OTHER


def test_far_what_cannot_be_told_apart(wire: PacketWire, far_talk: Talk) -> None:
    """A server that says FIN, then reads and processes, then aborts, unacknowledged: none is known."""
    wire.loses = lambda packet: packet.is_to_client and packet.is_pure_ack
    far_talk.server.shutdown(socket.SHUT_WR)
    far_talk.send()
    assert far_talk.wait_for_end().proof is Proof.NOT_YET
    assert far_talk.server.recv(1000) == REQUEST
    far_talk.abort_server()
    assert far_talk.look_until_decided().proof is Proof.REFUSED


def close_idle(talk: Talk) -> None:
    talk.server.close()


def read_and_close(talk: Talk) -> None:
    talk.received = len(talk.server.recv(1000))
    talk.server.close()


def read_and_abort(talk: Talk) -> None:
    talk.received = len(talk.server.recv(1000))
    talk.abort_server()


def read_a_part_and_close(talk: Talk) -> None:
    talk.received = len(talk.server.recv(5))
    talk.server.close()


def answer_and_close(talk: Talk) -> None:
    talk.received = len(talk.server.recv(1000))
    talk.server.sendall(b"answer")
    talk.server.close()


def close_half_and_linger(talk: Talk) -> None:
    """As nginx and Apache do: FIN, read for a while to throw away, close."""
    talk.server.shutdown(socket.SHUT_WR)
    talk.received = len(talk.server.recv(1000))
    talk.server.close()


SERVERS: tuple[Callable[[Talk], None], ...] = (
    *(close_idle, close_idle, read_and_close, read_and_abort, read_a_part_and_close),
    *(answer_and_close, close_half_and_linger),
)


@pytest.mark.parametrize("seed", range(3))
def test_far_whatever_is_lost_no_request_that_a_server_had_is_proved_refused(
    wire: PacketWire, seed: int
) -> None:
    """Of all packets a quarter, each delayed by up to 30 ms, while requests meet closes."""
    chance = random.Random(seed)
    wire.delay_seconds = 0.0
    talks = [Talk(*wire.connect()) for _ in range(70)]

    def is_lost(packet: Packet) -> bool:
        wire.delay_seconds = chance.uniform(0.0, 0.03)
        return chance.random() < 0.25

    def serve(talk: Talk, act: Callable[[Talk], None], seconds: float) -> None:
        time.sleep(seconds)
        with contextlib.suppress(OSError):
            act(talk)

    def converse(number: int) -> tuple[str, Proof, int]:
        talk = talks[number]
        talk.client.settimeout(1.5)
        talk.server.settimeout(1.5)
        act = SERVERS[number % len(SERVERS)]
        pauses = random.Random(1000 * seed + number)
        proof = Proof.NONE
        with ThreadPoolExecutor(1) as server:
            server.submit(serve, talk, act, pauses.uniform(0.0, 0.04))
            time.sleep(pauses.uniform(0.0, 0.06))
            # It may be reset before the request is written.
            with contextlib.suppress(OSError):
                talk.send()
                talk.wait_for_end()
                proof = talk.look_until_decided(1.0).proof
        return act.__name__, proof, talk.received

    wire.loses = is_lost
    try:
        with ThreadPoolExecutor(len(talks)) as pool:
            found = list(pool.map(converse, range(len(talks))))
    finally:
        for talk in talks:
            talk.close()
    assert [(name, received) for name, proof, received in found if proof is Proof.REFUSED and received] == []
    assert sum(received > 0 for _, _, received in found) >= 30
    proofs = [proof for name, proof, _ in found if name == "close_idle"]
    # Where an RST comes before the FIN, there is no proof.
    assert proofs.count(Proof.REFUSED) >= len(proofs) // 4
    assert len(wire.lost) > 50
