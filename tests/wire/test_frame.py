"""The decoder gives the same frames however the stream is cut, and no length makes it allocate."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procorch.errors import ProtocolError, SerializationError
from procorch.wire import codec
from procorch.wire import frame as frame_module
from procorch.wire.frame import (
    HEADER_SIZE,
    Decoder,
    Frame,
    Kind,
    gather,
    header,
)

MAX_FRAME = 4096

frames = st.builds(
    Frame,
    kind=st.sampled_from(Kind),
    generation=st.integers(0, 2**32 - 1),
    request=st.integers(0, 2**64 - 1),
    head=st.binary(max_size=200),
    body=st.binary(max_size=400),
    apart=st.just(0),
)
cuts = st.lists(st.integers(1, 300), min_size=1, max_size=50)
buffer_sizes = st.integers(HEADER_SIZE, 1024)


def stream(sent: list[Frame]) -> bytes:
    return b"".join(
        bytes(part)
        for kind, generation, request, head, body, _ in sent
        for part in gather(kind, generation, request, head, [body])
    )


def plain(frame: Frame) -> Frame:
    return frame._replace(body=bytes(frame.body))


def feed(decoder: Decoder, data: bytes, sizes: list[int]) -> list[Frame]:
    """Give ``data`` to the decoder in reads of ``sizes`` (repeated), as a socket would."""
    received: list[Frame] = []
    position = turn = 0
    while position < len(data):
        window = decoder.writable()
        assert len(window) > 0
        chunk = data[position : position + min(sizes[turn % len(sizes)], len(window))]
        window[: len(chunk)] = chunk
        received += [plain(frame) for frame in decoder.wrote(len(chunk))]
        position += len(chunk)
        turn += 1
    return received


def read_all(data: bytes, *, max_frame: int = MAX_FRAME) -> list[Frame]:
    return feed(Decoder(max_frame), data, [len(data) or 1])


@given(st.lists(frames, max_size=12), cuts, buffer_sizes)
def test_any_cut_of_the_stream_gives_the_same_frames(
    sent: list[Frame], sizes: list[int], buffer_size: int
) -> None:
    decoder = Decoder(MAX_FRAME, buffer_size)
    assert feed(decoder, stream(sent), sizes) == sent
    assert not decoder.partial


@given(st.lists(frames, min_size=1, max_size=5), cuts, buffer_sizes, st.data())
def test_a_stream_that_ends_inside_a_frame_is_partial(
    sent: list[Frame], sizes: list[int], buffer_size: int, data: st.DataObject
) -> None:
    last = len(stream(sent[-1:]))
    missing = data.draw(st.integers(1, last - 1))
    decoder = Decoder(MAX_FRAME, buffer_size)
    assert feed(decoder, stream(sent)[:-missing], sizes) == sent[:-1]
    assert decoder.partial


@given(st.lists(frames, max_size=5), cuts, buffer_sizes, st.binary(min_size=1, max_size=90))
def test_frames_before_a_fault_are_delivered_for_any_cut(
    sent: list[Frame], sizes: list[int], buffer_size: int, junk: bytes
) -> None:
    broken = stream(sent) + b"\xff" + junk
    decoder = Decoder(MAX_FRAME, buffer_size)
    received: list[Frame] = []
    with pytest.raises(ProtocolError, match="bad magic"):  # noqa: PT012
        for position in range(len(broken)):
            window = decoder.writable()
            window[:1] = broken[position : position + 1]
            received += [plain(frame) for frame in decoder.wrote(1)]
    assert received == sent

    decoder = Decoder(MAX_FRAME, buffer_size)
    received = []
    with pytest.raises(ProtocolError, match="bad magic"):  # noqa: PT012
        position = turn = 0
        while True:
            window = decoder.writable()
            chunk = broken[position : position + min(sizes[turn % len(sizes)], len(window))]
            window[: len(chunk)] = chunk
            received += [plain(frame) for frame in decoder.wrote(len(chunk))]
            position += len(chunk)
            turn += 1
    assert received == sent
    assert decoder.partial


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**20))
def test_a_length_above_the_limit_is_refused_before_anything_is_allocated(
    head_len: int, body_len: int, max_frame: int
) -> None:
    if head_len + body_len <= max_frame:
        body_len += max_frame + 1
        if body_len >= 2**64:
            return
    peaks = []
    for _ in range(5):  # what another thread of the test run allocates, it does not do five times
        decoder = Decoder(max_frame, 64)
        decoder.writable()[:HEADER_SIZE] = header(Kind.REPLY, 1, 2, head_len, body_len)
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolError, match=f"{head_len} \\+ {body_len} bytes"):
                decoder.wrote(HEADER_SIZE)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert min(peaks) < 32_768


def test_a_peer_that_announces_much_and_sends_nothing_takes_no_memory() -> None:
    decoder = Decoder(2**40)
    decoder.writable()[:HEADER_SIZE] = header(Kind.REPLY, 1, 2, 0, 2**32)
    before = resident_bytes()
    assert decoder.wrote(HEADER_SIZE) == []
    assert resident_bytes() - before < 8 * 2**20
    assert decoder.partial


def test_a_body_that_no_memory_can_hold_is_dropped_as_it_comes() -> None:
    decoder = Decoder(2**70)
    decoder.writable()[:HEADER_SIZE] = header(Kind.REPLY, 1, 2, 0, 2**63)
    assert decoder.wrote(HEADER_SIZE) == []
    for _ in range(3):
        assert 0 < len(decoder.writable()) <= 1 << 20
        assert decoder.wrote(len(decoder.writable())) == []
    assert decoder.partial


def test_only_the_body_for_which_there_is_no_memory_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_memory(size: int) -> memoryview:
        raise OSError("no memory")

    monkeypatch.setattr(frame_module, "allocate", no_memory)
    lost = Frame(Kind.REPLY, 1, 2, b"head", b"b" * (3 << 20))
    after = Frame(Kind.REPLY, 1, 3, b"head", b"body")
    monkeypatch.setattr(frame_module, "_SCRATCH", 1 << 19)
    first, second = read_all(stream([lost, after]), max_frame=1 << 23)
    assert first[:4] == lost[:4]
    with pytest.raises(SerializationError, match="3145728 bytes cannot be mapped: no memory"):
        codec.decode(first.body)
    assert second == after


def test_a_frame_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    fits = Frame(Kind.REQUEST, 1, 1, b"h" * 10, b"b" * 90)
    assert read_all(stream([fits]), max_frame=100) == [fits]
    with pytest.raises(ProtocolError, match="more than the 99 allowed"):
        read_all(stream([fits]), max_frame=99)


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (b"hello world\n", r"bad magic b'he' .*b'hello world\\n'"),
        (b"p", None),
        (b"pX", "bad magic b'pX'"),
        (b"pO\x02", "protocol version 2 where 1 was expected"),
        (b"pO\x01\x00", "unknown frame kind 0"),
        (b"pO\x01\xfe" + bytes(24), "unknown frame kind 254"),
    ],
)
def test_junk_is_reported_at_its_first_wrong_byte(spoilt: bytes, message: str | None) -> None:
    if message is None:
        assert read_all(spoilt) == []
        return
    with pytest.raises(ProtocolError, match=message):
        read_all(spoilt)


def test_a_fault_behind_a_complete_frame_is_kept_for_the_next_call() -> None:
    good = Frame(Kind.REPLY, 3, 4, b"", b"done")
    decoder = Decoder(MAX_FRAME)
    data = stream([good]) + b"Segmentation fault\n"
    decoder.writable()[: len(data)] = data
    assert decoder.wrote(len(data)) == [good]
    assert isinstance(decoder.error, ProtocolError)
    with pytest.raises(ProtocolError, match="Segmentation fault"):
        decoder.writable()
    with pytest.raises(ProtocolError, match="Segmentation fault"):
        decoder.wrote(1)


def test_a_small_body_is_bytes_and_a_large_one_is_writable_memory_of_its_own() -> None:
    decoder = Decoder(2**24, 1024)
    small = Frame(Kind.REPLY, 1, 1, b"head", b"x" * 100)
    for size in (5_000, 3 * 2**20):
        large = Frame(Kind.REPLY, 1, 2, b"head", bytes(range(256)) * (size // 256))
        data = stream([small, large, small])
        received: list[Frame] = []
        position = 0
        while position < len(data):
            window = decoder.writable()
            count = min(len(window), len(data) - position)
            window[:count] = data[position : position + count]
            received += decoder.wrote(count)
            position += count
        assert [plain(frame) for frame in received] == [small, large, small]
        assert type(received[0].body) is bytes
        body = received[1].body
        assert isinstance(body, memoryview)
        assert not body.readonly
        body[0] = 255  # its own memory: the frames around it stay as they are
        assert received[2] == small


def test_a_frame_that_fills_the_buffer_exactly_is_still_small() -> None:
    decoder = Decoder(MAX_FRAME, 128)
    exact = Frame(Kind.REPLY, 1, 1, b"12", b"x" * (128 - HEADER_SIZE - 2))
    data = stream([exact])
    assert len(data) == 128
    decoder.writable()[:128] = data
    (received,) = decoder.wrote(128)
    assert received == exact
    assert type(received.body) is bytes


def test_frames_are_written_in_one_buffer_when_small_and_without_a_copy_when_large() -> None:
    small = gather(Kind.REQUEST, 1, 2, b"head", [b"body"])
    assert small == [header(Kind.REQUEST, 1, 2, 4, 4) + b"headbody"]
    body = bytearray(100_000)
    first, second = gather(Kind.REQUEST, 1, 2, b"head", [body])
    assert first == header(Kind.REQUEST, 1, 2, 4, 100_000) + b"head"
    assert second is body


def test_the_header_is_28_bytes_in_network_order() -> None:
    assert header(Kind.READY, 1, 2, 3, 4) == (
        b"pO\x01\x02"
        + b"\0\0\0\x01"
        + b"\0\0\0\0\0\0\0\x02"
        + b"\0\0\0\x03"
        + b"\0\0\0\0\0\0\0\x04"
    )


def test_a_count_that_cannot_be_is_refused() -> None:
    decoder = Decoder(MAX_FRAME, 64)
    for count in (-1, 65):
        with pytest.raises(ValueError, match="cannot have been received"):
            decoder.wrote(count)
    assert decoder.wrote(0) == []
    start = header(Kind.REPLY, 1, 1, 0, 1000)
    decoder.writable()[: len(start)] = start
    assert decoder.wrote(len(start)) == []
    for count in (-1, 1001):
        with pytest.raises(ValueError, match="cannot have been received"):
            decoder.wrote(count)


def test_a_buffer_smaller_than_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="buffer_size must be at least 28"):
        Decoder(MAX_FRAME, 27)


def test_the_module_needs_neither_sockets_nor_pickle() -> None:
    assert not {"socket", "pickle", "dill"} & set(vars(frame_module))


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4096
