"""Large payloads: sealed memory, and channels that pass it on as a descriptor."""

from __future__ import annotations

import contextlib
import errno
import gc
import mmap
import os
import resource
import select
import socket
import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from procorch.errors import ProtocolError, SerializationError
from procorch.wire import codec, payload
from procorch.wire.channel import Channel
from procorch.wire.frame import Decoder, Frame, Kind, announce, gather, header
from procorch.wire.payload import THRESHOLD, Lease

LARGE = THRESHOLD + 12345
MAX_FRAME = 1 << 26


@pytest.fixture(autouse=True)
def no_descriptor_and_no_mapping_left() -> Iterator[None]:
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    assert descriptors() == before
    assert mapped() == 0


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def highest() -> int:
    return max(map(int, os.listdir("/proc/self/fd")))


def mapped() -> int:
    """How often this process maps a payload."""
    return Path("/proc/self/maps").read_text().count("memfd:procorch-payload")


def leased(content: bytes) -> Lease:
    lease = payload.pack([content])
    assert isinstance(lease, Lease)
    return lease


class Pair:
    """A channel to be tested at the end of a socket, and the other end of it."""

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.channel = Channel(ours, max_frame)

    def sends(self, data: bytes, *leases: Lease) -> None:
        fds = array("i", [lease.fileno() for lease in leases])
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)
        assert self.peer.sendmsg([data], [rights] if fds else []) == len(data)


@pytest.fixture
def pair() -> Iterator[Callable[..., Pair]]:
    made: list[Pair] = []

    def make(max_frame: int = MAX_FRAME) -> Pair:
        made.append(Pair(max_frame))
        return made[-1]

    yield make
    for each in made:
        each.channel.close()
        each.peer.close()


@pytest.fixture
def limited() -> Iterator[Callable[[int, int], None]]:
    """Lower a soft limit of this process."""
    before: dict[int, tuple[int, int]] = {}

    def lower(which: int, value: int) -> None:
        before.setdefault(which, resource.getrlimit(which))
        resource.setrlimit(which, (value, before[which][1]))

    yield lower
    for which, limits in before.items():
        resource.setrlimit(which, limits)


@contextlib.contextmanager
def no_numbers_left() -> Iterator[None]:
    """Use up all descriptors of this process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest() + 2, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


# Leases


def test_a_small_body_stays_as_it_is_and_a_large_one_gets_memory_of_its_own() -> None:
    small = [b"x" * (THRESHOLD - 1)]
    assert payload.pack(small) is small
    assert isinstance(payload.pack([b"x" * (THRESHOLD - 1), b"y"]), Lease)


def test_what_is_unpacked_is_what_was_packed_aligned_and_writable() -> None:
    body = np.random.default_rng(1).integers(0, 1 << 40, 1_000_000)
    lease = payload.pack(codec.encode([body, body[:500_000] + 1], what="request"))
    assert isinstance(lease, Lease)
    whole, half = codec.decode(payload.unpack(lease))
    assert (whole == body).all()
    assert (half == body[:500_000] + 1).all()
    for each in (whole, half):
        assert each.flags.writeable
        assert each.ctypes.data % 64 == 0


def test_each_mapping_is_its_holders_own() -> None:
    lease = leased(b"a" * LARGE)
    first, second = lease.map(), lease.map()
    first[:3] = b"xyz"
    assert bytes(first[:5]) == b"xyzaa"
    assert bytes(second[:5]) == bytes(lease.map()[:5]) == b"aaaaa"


def test_a_mapping_holds_no_descriptor_and_ends_with_its_last_view() -> None:
    before = descriptors()
    lease = leased(b"a" * LARGE)
    assert descriptors() == before + 1
    view = payload.unpack(lease)
    assert (descriptors(), lease.fileno(), mapped()) == (before, -1, 1)
    rest = np.frombuffer(view, np.uint8)[-10:]
    del view
    assert mapped() == 1
    assert bytes(rest) == b"a" * 10
    del rest
    assert mapped() == 0


def test_a_lease_that_nobody_opens_closes_its_descriptor() -> None:
    before = descriptors()
    lease = leased(b"a" * LARGE)
    del lease
    assert descriptors() == before


def test_nobody_can_change_or_cut_what_was_packed() -> None:
    lease = leased(b"a" * LARGE)
    for change in (
        lambda: os.ftruncate(lease.fileno(), 10),
        lambda: os.ftruncate(lease.fileno(), LARGE + 10),
        lambda: os.pwrite(lease.fileno(), b"x", 0),
        lambda: mmap.mmap(lease.fileno(), LARGE),
    ):
        with pytest.raises(PermissionError):
            change()


def test_the_memory_is_of_no_file_system_that_others_can_fill() -> None:
    lease = leased(b"a" * LARGE)
    assert os.fstat(lease.fileno()).st_dev != os.stat("/dev/shm").st_dev
    assert os.fstatvfs(lease.fileno()).f_blocks == 0  # without a limit


def test_what_there_is_no_room_for_goes_in_pieces(limited: Callable[[int, int], None]) -> None:
    parts = [b"a" * THRESHOLD, b"b" * THRESHOLD]
    limited(resource.RLIMIT_FSIZE, THRESHOLD + 1000)
    assert payload.pack(parts) is parts


def test_without_memory_a_body_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    parts = [b"a" * LARGE]
    assert payload.pack(parts) is parts


def test_without_descriptors_a_body_goes_in_pieces() -> None:
    parts = [b"a" * LARGE]
    with no_numbers_left():
        assert payload.pack(parts) is parts


def test_leases_leave_half_of_the_descriptors_to_others(
    limited: Callable[[int, int], None],
) -> None:
    limit = 2 * highest() + 40
    limited(resource.RLIMIT_NOFILE, limit)
    kept = [payload.pack([b"a" * LARGE]) for _ in range(limit // 2)]
    assert isinstance(kept[0], Lease)
    assert not isinstance(kept[-1], Lease)


def test_no_addresses_for_a_body_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload, "_mmap", lambda *arguments: None)
    with pytest.raises(SerializationError, match=f"its {LARGE} bytes cannot be mapped"):
        payload.unpack(leased(b"a" * LARGE))


def unsealed() -> int:
    fd = os.memfd_create("procorch-test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, LARGE)
    return fd


@pytest.mark.parametrize(
    "strange",
    [
        unsealed,
        lambda: os.open("/dev/zero", os.O_RDWR),
        lambda: os.open(__file__, os.O_RDONLY),
        lambda: os.eventfd(0),
    ],
)
def test_a_descriptor_of_anything_but_sealed_memory_is_refused(strange: Callable[[], int]) -> None:
    with pytest.raises(ProtocolError, match="not sealed memory"):
        payload.adopt(strange(), LARGE)


@pytest.mark.parametrize("announced", [LARGE - 1, LARGE + 1, 1 << 62])
def test_memory_of_another_size_than_announced_is_refused(announced: int) -> None:
    lease = leased(b"a" * LARGE)
    fd = os.dup(lease.fileno())
    with pytest.raises(ProtocolError, match=f"{LARGE} bytes of memory for a body of {announced}"):
        payload.adopt(fd, announced)


def test_what_has_come_can_be_sent_on_as_it_is() -> None:
    lease = leased(b"a" * LARGE)
    assert payload.again(lease) is lease
    assert payload.again(b"small") == [b"small"]


def test_a_body_without_memory_of_its_own_needs_no_mapping() -> None:
    parts = [b"small"]
    assert payload.spread(parts) is parts


# Frames


@given(
    st.lists(st.tuples(st.integers(0, 2**62), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 200), min_size=1, max_size=50),
    st.integers(28, 512),
)
def test_any_cut_of_the_stream_gives_the_same_announcements(
    sent: list[tuple[int, bytes]], cuts: list[int], buffer_size: int
) -> None:
    stream = b""
    for number, (size, text) in enumerate(sent):
        stream += announce(Kind.REPLY, 1, number, text, size)
        stream += b"".join(gather(Kind.REPLY, 1, number, b"", [text]))
    decoder = Decoder(2**63, buffer_size)
    received: list[Frame] = []
    at = 0
    while at < len(stream):
        window = decoder.writable()
        count = min(len(window), len(stream) - at, cuts[at % len(cuts)])
        window[:count] = stream[at : at + count]
        received += decoder.wrote(count)
        at += count
    assert [(f.apart, bytes(f.head)) for f in received[::2]] == sent
    assert [(f.apart, bytes(f.body)) for f in received[1::2]] == [(0, text) for _, text in sent]


# Channels


def bodies(channel: Channel, count: int) -> list[bytes]:
    """The next ``count`` bodies, whichever way they come; decoded like any other."""
    found: list[bytes] = []
    while len(found) < count and not channel.eof:
        select.select([channel], [], [])
        found += [bytes(payload.unpack(frame.body)) for frame in channel.receive()]
    return found


def test_frames_keep_their_order_whichever_way_their_bodies_go() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    out, into = Channel(ours, MAX_FRAME), Channel(theirs, MAX_FRAME)
    sizes = [0, LARGE, 10, LARGE + 1, LARGE + 2, 300_000, LARGE + 3, 40_000, 0, LARGE + 4] * 5
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.extend(bodies(into, len(sizes))))
    reader.start()
    for number, size in enumerate(sizes):
        out.send(
            Kind.REPLY, 1, number, b"h" * (number * 999), payload.pack([b"%d" % number * size])
        )
    while out.unsent:
        select.select([], [out], [])
        out.flush()
    reader.join()
    assert got == [b"%d" % number * size for number, size in enumerate(sizes)]
    out.close()
    into.close()


def test_a_lease_may_be_sent_twice(pair: Callable[..., Pair]) -> None:
    p = pair()
    to = Channel(p.peer, MAX_FRAME)
    lease = leased(b"a" * LARGE)
    for number in (1, 2):
        to.send(Kind.REQUEST, 1, number, b"", lease)
    first, second = bodies(p.channel, 2)
    assert first == second == b"a" * LARGE


def test_what_waits_for_a_full_socket_is_dropped_with_it(pair: Callable[..., Pair]) -> None:
    p = pair()
    for _ in range(3):
        p.channel.send(Kind.REQUEST, 1, 1, b"", [b"x" * 1_000_000])
        p.channel.send(Kind.REQUEST, 1, 2, b"", leased(b"a" * LARGE))
    assert p.channel.unsent
    p.channel.close()


class Full(socket.socket):
    """A socket of a system in which too many descriptors are on their way."""

    def sendmsg(self, buffers: Any, ancillary: Any = (), *rest: Any) -> int:
        if ancillary:
            raise OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")
        return super().sendmsg(buffers, ancillary, *rest)


def test_where_no_descriptor_may_travel_the_body_does(pair: Callable[..., Pair]) -> None:
    p = pair()
    to = Channel(Full(fileno=p.peer.detach()), MAX_FRAME)
    sending = threading.Thread(
        target=to.send, args=(Kind.REQUEST, 1, 1, b"head", leased(b"a" * LARGE))
    )
    sending.start()
    assert bodies(p.channel, 1) == [b"a" * LARGE]
    sending.join()
    to.close()


def test_a_body_that_can_travel_neither_way_is_lost_and_its_frame_is_not(
    pair: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    p = pair()
    to = Channel(Full(fileno=p.peer.detach()), MAX_FRAME)
    monkeypatch.setattr(payload, "_mmap", lambda *arguments: None)
    to.send(Kind.REQUEST, 1, 7, b"head", leased(b"a" * LARGE))
    (frame,) = p.channel.receive()
    assert (frame.request, frame.head) == (7, b"head")
    with pytest.raises(SerializationError, match="lost on the way"):
        codec.decode(payload.unpack(frame.body))
    to.close()


def test_without_a_number_for_a_descriptor_one_frame_loses_its_body_and_no_other(
    pair: Callable[..., Pair],
) -> None:
    p = pair()
    to = Channel(p.peer, MAX_FRAME)
    to.send(Kind.REPLY, 1, 1, b"", leased(b"a" * LARGE))
    with no_numbers_left():
        (frame,) = p.channel.receive()
    with pytest.raises(SerializationError, match="no descriptors left"):
        codec.decode(payload.unpack(frame.body))
    to.send(Kind.REPLY, 1, 2, b"", leased(b"b" * LARGE))
    assert bodies(p.channel, 1) == [b"b" * LARGE]


def fault_of(channel: Channel) -> tuple[list[Frame], ProtocolError]:
    frames = channel.receive()
    assert channel.fault is not None
    with pytest.raises(ProtocolError) as caught:
        channel.receive()
    assert caught.value is channel.fault
    return frames, channel.fault


GOOD = b"".join(gather(Kind.REPLY, 1, 1, b"", [b"good"]))


def test_a_size_above_the_limit_is_refused_before_anything_is_mapped(
    pair: Callable[..., Pair],
) -> None:
    p = pair(LARGE - 1)
    p.sends(GOOD + announce(Kind.REPLY, 1, 2, b"", LARGE), leased(b"a" * LARGE))
    (frame,), fault = fault_of(p.channel)
    assert frame.body == b"good"
    assert f"announces 0 + {LARGE} bytes, more than the {LARGE - 1} allowed" in str(fault)
    assert mapped() == 0


def test_a_limit_can_be_lowered(pair: Callable[..., Pair]) -> None:
    p = pair()
    p.channel.limit(100)
    p.sends(header(Kind.REPLY, 1, 1, 0, 101))
    with pytest.raises(ProtocolError, match="101 bytes, more than the 100 allowed"):
        p.channel.receive()


def test_a_frame_without_its_descriptor_is_a_fault(pair: Callable[..., Pair]) -> None:
    p = pair()
    p.sends(GOOD + announce(Kind.REPLY, 1, 2, b"", LARGE))
    frames, fault = fault_of(p.channel)
    assert len(frames) == 1
    assert "REPLY without the descriptor" in str(fault)


def test_a_descriptor_without_a_frame_is_a_fault(pair: Callable[..., Pair]) -> None:
    p = pair()
    p.sends(GOOD, leased(b"a" * LARGE))
    frames, fault = fault_of(p.channel)
    assert len(frames) == 1
    assert "belongs to no frame" in str(fault)


def test_an_unsealed_descriptor_is_a_fault(pair: Callable[..., Pair]) -> None:
    p = pair()
    p.sends(announce(Kind.REPLY, 1, 2, b"", LARGE), Lease(unsealed(), LARGE))
    with pytest.raises(ProtocolError, match="not sealed memory"):
        p.channel.receive()


@pytest.mark.parametrize("kind", [Kind.INIT, Kind.CHECKPOINT, Kind.READY])
def test_what_supervision_reads_itself_never_comes_apart(
    pair: Callable[..., Pair], kind: Kind
) -> None:
    p = pair()
    p.sends(announce(kind, 1, 2, b"", LARGE), leased(b"a" * LARGE))
    with pytest.raises(ProtocolError, match="unknown frame kind"):
        p.channel.receive()


def test_more_descriptors_than_one_are_closed(pair: Callable[..., Pair]) -> None:
    p = pair()
    lease = leased(b"a" * LARGE)
    p.sends(announce(Kind.REPLY, 1, 2, b"", LARGE), *[lease] * 5)
    before = descriptors()
    (frame,) = p.channel.receive()
    assert descriptors() == before + 1
    assert bytes(payload.unpack(frame.body)) == b"a" * LARGE


@pytest.mark.parametrize("cut", [1, 27, 30])
def test_the_descriptor_of_a_torn_frame_is_closed(pair: Callable[..., Pair], cut: int) -> None:
    p = pair()
    lease = leased(b"a" * LARGE)
    p.sends(announce(Kind.REPLY, 1, 2, b"head", LARGE)[:cut], lease)
    p.peer.close()
    assert list(p.channel.drain()) == []
    assert p.channel.eof


def test_a_descriptor_that_nobody_reads_ends_with_the_socket(pair: Callable[..., Pair]) -> None:
    before = descriptors()
    p = pair()
    p.sends(announce(Kind.REPLY, 1, 2, b"head", LARGE), leased(b"a" * LARGE))
    p.peer.close()
    p.channel.close()
    assert descriptors() == before


def test_a_frame_may_come_in_pieces_around_the_next_ones_descriptor(
    pair: Callable[..., Pair],
) -> None:
    p = pair()
    first = announce(Kind.REPLY, 1, 1, b"head", LARGE)
    second = announce(Kind.REPLY, 1, 2, b"head", LARGE)
    p.sends(first[:10], leased(b"a" * LARGE))
    assert p.channel.receive() == []
    p.sends(first[10:])
    p.sends(second, leased(b"b" * LARGE))
    assert [each[:1] for each in bodies(p.channel, 2)] == [b"a", b"b"]


def test_descriptors_are_not_inherited(pair: Callable[..., Pair]) -> None:
    p = pair()
    lease = leased(b"a" * LARGE)
    assert not os.get_inheritable(lease.fileno())
    p.sends(announce(Kind.REPLY, 1, 2, b"", LARGE), lease)
    (frame,) = p.channel.receive()
    assert isinstance(frame.body, Lease)
    assert not os.get_inheritable(frame.body.fileno())


def test_a_torn_frame_whose_descriptor_found_no_number_is_dropped(
    pair: Callable[..., Pair],
) -> None:
    p = pair()
    lease = leased(b"a" * LARGE)
    p.sends(announce(Kind.REPLY, 1, 1, b"head", LARGE)[:10], lease)
    with no_numbers_left():
        assert p.channel.receive() == []
    p.channel.close()
