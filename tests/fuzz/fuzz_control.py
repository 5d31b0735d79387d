"""Fuzz the control protocol: ``tox -e fuzz``, or this file with flags of libFuzzer.

What must hold for any bytes: the daemon has a request with checked arguments, or a `BadRequest`
that it can send; nothing deep or large is decoded; globs choose names or are refused. A client has
lines or errors of the library, the same however the stream is cut.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

# Appended, so that an installed procorch is the one under test, not the source beside the tests.
sys.path.append(str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["procorch.daemon"]):
    from procorch.daemon.client.dialog import Lines
    from procorch.daemon.control import protocol
    from procorch.daemon.control.names import select
    from procorch.daemon.control.verbs import VERBS
    from procorch.daemon.errors import BadRequest, DaemonError
    from procorch.errors import AgentError

NAMES = {"solver": None, "web-1": "web", "web-2": "web"}


def ask(line: bytes) -> None:
    """What the daemon makes of a line of a client, up to the verb itself."""
    try:
        request = protocol.read_request(line)
        assert len(line) <= protocol.LINE_LIMIT
        verb = VERBS.get(request.verb)
        if verb is None:
            return
        args = protocol.read_args(request.verb, request.args, verb.args)
        inside = 2 + depth(getattr(args, "message", None))
        assert inside <= protocol.DEPTH_LIMIT, "deeper than the limit"
        chosen = select(getattr(args, "names", []), NAMES)
        assert set(chosen) <= set(NAMES), "a name that is not there"
    except DaemonError as refused:
        tell(refused)


def tell(refused: DaemonError) -> None:
    """The client must learn what the error is."""
    told = protocol.read_line(protocol.error_line(refused)[:-1]).error
    assert told is not None
    assert told.type == refused.kind
    assert told.code == BadRequest.code or not isinstance(refused, BadRequest)


def depth(value: Any) -> int:
    """Lists and objects inside each other."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def read(data: bytes, cuts: bytes) -> list[str]:
    """What a client makes of a stream of the daemon, read in pieces of the given sizes."""
    lines = Lines(Path("folder"))
    found: list[str] = []
    at = turn = 0
    while at < len(data):
        size = 1 + cuts[turn % len(cuts)] if cuts else len(data)
        lines.feed(data[at : at + size])
        at += size
        turn += 1
        while True:
            try:
                line = lines.next()
            except (DaemonError, AgentError) as error:
                found.append(f"{type(error).__name__}: {error}")
                return found
            if line is None:
                break
            found.append(repr(line))
    return found


def one_input(data: bytes) -> None:
    """One try: the first byte says who reads, and how many bytes are the sizes of the pieces."""
    if not data:
        return
    if data[0] < 128:
        ask(data[1:])
        return
    cuts, stream = data[1 : 1 + data[0] % 16], data[1 + data[0] % 16 :]
    assert read(stream, cuts) == read(stream, b""), "the cuts change the lines"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as found:  # what is found is not mixed with the seeds
        seeds = Path(__file__).parent / "seeds-control"
        atheris.Setup([*sys.argv, found, str(seeds)], one_input)
        atheris.Fuzz()
