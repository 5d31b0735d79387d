"""A channel at the ends of its socket: full, held, closed, reset, cut off."""

from __future__ import annotations

import select
import socket
import struct
import tracemalloc
from collections.abc import Iterator

import pytest

from procorch.errors import ProtocolError
from procorch.wire.channel import Channel
from procorch.wire.frame import Frame, Kind, gather

MAX_FRAME = 1 << 20
Ends = tuple[Channel, Channel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two channels, of which neither waits."""
    sockets = socket.socketpair()
    for each in sockets:
        each.setblocking(False)
    first, second = (Channel(each, MAX_FRAME) for each in sockets)
    yield first, second
    first.close()
    second.close()


def send(channel: Channel, number: int, body: bytes = b"") -> None:
    channel.send(Kind.REQUEST, 1, number, b"", [body])


def read(channel: Channel, count: int) -> list[Frame]:
    frames: list[Frame] = []
    while len(frames) < count:
        select.select([channel], [], [])
        frames += channel.receive()
    return frames


def test_what_a_full_socket_does_not_take_is_sent_later_and_in_order(ends: Ends) -> None:
    sender, reader = ends
    count = 0
    while not sender.unsent:
        send(sender, count, b"x" * 1000)
        count += 1
    send(sender, count, b"y" * 10)
    numbers: list[int] = []
    while len(numbers) <= count:
        numbers += [frame.request for frame in read(reader, 1)]
        sender.flush()
    assert numbers == list(range(count + 1))
    assert not sender.unsent


def test_what_is_held_goes_at_once_when_it_is_let_go(ends: Ends) -> None:
    sender, reader = ends
    sender.hold()
    for number in range(3):
        send(sender, number)
    assert sender.unsent
    assert reader.receive() == []
    sender.release()
    assert [frame.request for frame in read(reader, 3)] == [0, 1, 2]


def test_one_frame_at_a_time_can_be_taken(ends: Ends) -> None:
    sender, reader = ends
    for number in range(2):
        send(sender, number)
    first = reader.receive_one()
    assert first is not None
    assert (first.request, reader.has_frame) == (0, True)
    second = reader.receive_one()
    assert second is not None
    assert (second.request, reader.has_frame) == (1, False)
    sender.close()
    assert reader.receive_one() is None
    assert reader.eof


def test_all_that_was_written_can_be_read_after_the_end(ends: Ends) -> None:
    sender, reader = ends
    for number in range(50):
        send(sender, number, b"x" * 1000)
    assert not reader.is_cut_off()
    sender.close()
    assert reader.is_cut_off()
    assert [frame.request for frame in reader.drain()] == list(range(50))
    assert reader.eof


def test_a_channel_that_stops_reading_is_at_its_end(ends: Ends) -> None:
    sender, reader = ends
    reader.stop_reading()
    assert reader.receive() == []
    assert reader.eof
    sender.close()
    reader.stop_reading()  # the peer is gone: nothing happens


def test_a_reset_is_an_end() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    peer = socket.create_connection(listener.getsockname())
    reader = Channel(listener.accept()[0], MAX_FRAME)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    assert reader.receive() == []
    assert reader.eof
    reader.close()
    listener.close()


def test_a_forgotten_channel_leaves_its_descriptor_open(ends: Ends) -> None:
    sender, reader = ends
    copy = socket.socket(fileno=sender.fileno())
    sender.abandon()
    copy.sendall(b"".join(gather(Kind.REPLY, 1, 5, b"", [b"still here"])))
    assert [frame.request for frame in read(reader, 1)] == [5]
    copy.close()


def test_after_a_fault_nothing_more_is_read(ends: Ends) -> None:
    sender, reader = ends
    send(sender, 1)
    raw = socket.socket(fileno=sender.fileno())
    sender.abandon()
    raw.sendall(b"no frame at all, and long enough to see it")
    raw.close()
    assert [frame.request for frame in reader.receive()] == [1]
    assert reader.fault is not None
    for _ in range(2):
        with pytest.raises(ProtocolError):
            reader.receive()


def test_a_closed_channel_has_given_back_the_memory_for_reads() -> None:
    tracemalloc.start()
    try:
        channels = [Channel(each, MAX_FRAME) for _ in range(10) for each in socket.socketpair()]
        opened = tracemalloc.get_traced_memory()[0]
        for each in channels:
            each.close()
        assert opened > 20 * 65_536
        assert tracemalloc.get_traced_memory()[0] < 20 * 8_192
    finally:
        tracemalloc.stop()
