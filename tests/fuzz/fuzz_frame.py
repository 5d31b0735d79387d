"""Fuzz the frame decoder: ``tox -e fuzz``, or this file with flags of libFuzzer.

What must hold for any bytes, cut anywhere: frames or a `ProtocolError`, nothing else; the same
frames however the stream is cut; nothing after a fault; memory for no more than the limit.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

# Appended, so that an installed procorch is the one under test, not the source beside the tests.
sys.path.append(str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["procorch.wire"]):
    from procorch.errors import ProtocolError
    from procorch.wire import frame

LIMIT = 1 << 16  # bytes of the largest frame accepted
BUFFER = 256


def decode(data: bytes, cuts: bytes) -> tuple[list[tuple[object, ...]], str | None]:
    """The frames of a stream and the fault that ended it, read in pieces of the given sizes."""
    decoder = frame.Decoder(LIMIT, buffer_size=BUFFER)
    frames: list[tuple[object, ...]] = []
    at = turn = 0
    while at < len(data):
        try:
            view = decoder.writable()
            size = 1 + (cuts[turn % len(cuts)] if cuts else len(data))
            count = min(len(view), size, len(data) - at)
            assert count > 0, "a decoder that takes nothing and does not say why"
            assert len(view) <= max(LIMIT, BUFFER), "memory beyond the limit"
            view[:count] = data[at : at + count]
            at += count
            turn += 1
            for each in decoder.wrote(count):
                size = len(each.head) + len(each.body) + each.apart
                assert size <= LIMIT, "a frame beyond the limit"
                frames.append((*each[:3], bytes(each.head), bytes(each.body), each.apart))
        except ProtocolError as error:
            return frames, str(error)
        if decoder.error is not None:
            return frames, str(decoder.error)
    return frames, None


def one_input(data: bytes) -> None:
    """One try: the first byte says how many bytes are the sizes of the pieces."""
    if not data:
        return
    cuts, stream = data[1 : 1 + data[0] % 16], data[1 + data[0] % 16 :]
    in_pieces, at_once = decode(stream, cuts), decode(stream, b"")
    assert in_pieces[0] == at_once[0], "the cuts change the frames"
    assert (in_pieces[1] is None) == (at_once[1] is None), "the cuts change the fault"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as found:  # what is found is not mixed with the seeds
        seeds = Path(__file__).parent / "seeds"
        atheris.Setup([*sys.argv, found, str(seeds)], one_input)
        atheris.Fuzz()
