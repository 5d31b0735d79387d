"""The parent's end of a channel: the bulk of a large frame is moved by another thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from procorch.wire.channel import Channel
from procorch.wire.frame import Kind
from procorch.wire.parent_channel import ParentChannel

MAX_FRAME = 1 << 26
BODY = bytes(range(256)) * (1 << 15)  # 8 MiB, more than a socket holds
PATIENCE = 90.0


@pytest.fixture
def ends() -> Iterator[tuple[ParentChannel, Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    channel, peer = ParentChannel(ours, MAX_FRAME), Channel(theirs, MAX_FRAME)
    yield channel, peer, ours
    channel.close()
    peer.close()


def test_a_frame_waits_for_the_bulk_before_it(
    ends: tuple[ParentChannel, Channel, socket.socket],
) -> None:
    channel, peer, _ = ends
    channel.send(Kind.REQUEST, 1, 1, b"head", [b"", BODY])
    assert channel.take_bulk()
    assert not channel.unsent
    assert peer.receive() == []  # and there is room in the socket now
    channel.send(Kind.REQUEST, 1, 2, b"head", [b"small"])
    assert not channel.take_bulk()
    writer = threading.Thread(target=channel.write_bulk)
    writer.start()
    first = peer.receive_one()
    assert first is not None
    assert (first.request, bytes(first.body)) == (1, BODY)
    writer.join(PATIENCE)
    channel.written()
    second = peer.receive_one()
    assert second is not None
    assert (second.request, bytes(second.body)) == (2, b"small")


def test_bulk_for_which_there_is_no_thread_is_written_as_the_socket_takes_it(
    ends: tuple[ParentChannel, Channel, socket.socket],
) -> None:
    channel, peer, _ = ends
    channel.send(Kind.REQUEST, 1, 1, b"", [b"", BODY])
    assert channel.take_bulk()
    channel.return_bulk()
    while channel.unsent:
        channel.flush()
        assert peer.receive() == [] or not channel.unsent
    assert not channel.take_bulk()


def test_a_thread_reads_all_but_the_end_of_a_frame(
    ends: tuple[ParentChannel, Channel, socket.socket],
) -> None:
    channel, peer, _ = ends
    writer = threading.Thread(target=peer.send, args=(Kind.REPLY, 1, 7, b"head", [b"", BODY]))
    writer.start()
    while not channel.is_reading_bulk:
        assert channel.receive() == []
    channel.read_bulk()
    writer.join(PATIENCE)
    assert not channel.is_reading_bulk
    (frame,) = channel.receive()
    assert (frame.request, frame.head, bytes(frame.body)) == (7, b"head", BODY)


def test_a_thread_that_reads_can_be_stopped_and_what_has_come_is_read_on(
    ends: tuple[ParentChannel, Channel, socket.socket],
) -> None:
    channel, peer, _ = ends
    peer.hold()
    peer.send(Kind.REPLY, 1, 7, b"", [b"", BODY])
    start = memoryview(b"".join(peer.unsent))[: 2 << 20]
    feeder = socket.socket(fileno=peer.fileno())
    try:
        writer = threading.Thread(target=feeder.sendall, args=(start,))
        writer.start()
        while not channel.is_reading_bulk:
            assert channel.receive() == []
        reader = threading.Thread(target=channel.read_bulk)
        reader.start()
        writer.join(PATIENCE)
        channel.stop(socket.SHUT_RD)
        reader.join(PATIENCE)
        assert not reader.is_alive()
        assert list(channel.drain()) == []
        assert channel.eof
    finally:
        feeder.detach()
