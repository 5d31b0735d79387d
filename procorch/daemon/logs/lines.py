"""Lines of agents' output, as log files have them: JSON, or text for people.

`LineCutter` makes lines of the bytes of one stream. A line may come in parts; the rest of it waits
here until its newline, and not longer than the writer lets it (`cut`). A line that is cut says so
(``continued``), and its next part is a line of its own.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

LONGEST = 65536
"""Bytes of the text of a line; a longer one is cut."""
_CUT = " [...]"
_LABELS = {"stdout": "out", "stderr": "err"}
_STREAMS = {label: stream for stream, label in _LABELS.items()}
_TEXT = re.compile(
    r"(?P<time>\S+Z) (?P<agent>.+?)(?:/(?P<instance>\d+) (?P<stream>out|err))?: (?P<text>.*)",
    re.DOTALL,
)


class LogLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a log.

    Args:
        time: when its first byte came, in seconds since the epoch (Unix).
        agent: who wrote it. ``instance``, ``generation``: which process; None: it is not known.
        request: the number of the request that the process worked on; None: none is known.
        stream: "stdout" or "stderr"; None: output of several streams is lost.
        text: without the newline.
        continued: the line goes on in the next one of its stream.
        lost: so many bytes of output are missing in place of this line.
    """

    time: float
    agent: str
    instance: int | None
    generation: int | None
    request: int | None
    stream: str | None
    text: str
    continued: bool = False
    lost: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The line as plain data."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LogLine)


def gap(
    time: float,
    agent: str,
    count: int,
    instance: int | None = None,
    generation: int | None = None,
    request: int | None = None,
    stream: str | None = None,
) -> LogLine:
    """The line that stands for ``count`` bytes that are missing."""
    text = f"[procorch: {count} bytes of output are missing here]"
    return LogLine(time, agent, instance, generation, request, stream, text, lost=count)


def as_json(line: LogLine) -> bytes:
    """The line as JSON, with a newline."""
    return _encoder.encode(line) + b"\n"


def as_text(line: LogLine) -> bytes:
    """The line for people, with a newline."""
    at = datetime.fromtimestamp(line.time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    source = line.agent
    if line.instance is not None and line.stream is not None:
        source = f"{source}/{line.instance} {_LABELS[line.stream]}"
    return f"{at}Z {source}: {line.text}{_CUT * line.continued}\n".encode("utf-8", "replace")


def parse(data: bytes) -> LogLine | None:
    """The line that is written so, without its newline; None: it is none of ours, or damaged."""
    if data.startswith(b"{"):
        try:
            return _decoder.decode(data)
        except msgspec.DecodeError:
            return None
    found = _TEXT.fullmatch(data.decode("utf-8", "replace"))
    if found is None:
        return None
    try:
        time = datetime.fromisoformat(found["time"]).timestamp()
    except ValueError:
        return None
    text, instance, stream = found["text"], found["instance"], found["stream"]
    return LogLine(
        time, found["agent"], None if instance is None else int(instance), None, None,
        None if stream is None else _STREAMS[stream], text.removesuffix(_CUT),
        continued=text.endswith(_CUT),
    )  # fmt: skip


class Piece(NamedTuple):
    """A line of one stream, or a part of a line.

    Args:
        time: when its first byte came.
        request: the request that the process worked on then.
        size: bytes that it was written with, the newline included.
    """

    time: float
    request: int | None
    text: bytes
    size: int
    continued: bool


class LineCutter:
    """Cuts the bytes of one stream into lines.

    Attributes:
        since: when the first byte of the unfinished line came; None: there is no such line.
    """

    __slots__ = ("_request", "_rest", "since")

    def __init__(self) -> None:
        self._rest = b""
        self._request: int | None = None
        self.since: float | None = None

    def feed(self, data: bytes, request: int | None, now: float) -> list[Piece]:
        """The lines that are complete with ``data``."""
        first, *others = data.split(b"\n")
        if self.since is None:
            self.since, self._request = now, request
        rest = self._rest + first
        pieces: list[Piece] = []
        for each in others:
            self._finish(pieces, rest)
            self.since, self._request, rest = now, request, each
        while len(rest) > LONGEST:
            rest = self._part(pieces, rest, _boundary(rest, LONGEST))
            self.since, self._request = now, request
        self._rest = rest
        if not rest:
            self.since = None
        return pieces

    def cut(self, *, final: bool) -> list[Piece]:
        """The part of the unfinished line that is there.

        Args:
            final: nothing will follow. Otherwise an unfinished character stays.
        """
        pieces: list[Piece] = []
        rest = self._rest
        if final and rest:
            self._finish(pieces, rest, newline=0)
            rest = b""
        elif size := _whole(rest):
            rest = self._part(pieces, rest, size)
        self._rest = rest
        if not rest:
            self.since = None
        return pieces

    def _finish(self, pieces: list[Piece], line: bytes, newline: int = 1) -> None:
        while len(line) > LONGEST:
            line = self._part(pieces, line, _boundary(line, LONGEST))
        assert self.since is not None
        pieces.append(Piece(self.since, self._request, line, len(line) + newline, False))

    def _part(self, pieces: list[Piece], line: bytes, size: int) -> bytes:
        """Cut a part off, and return the rest."""
        assert self.since is not None
        pieces.append(Piece(self.since, self._request, line[:size], size, True))
        return line[size:]


def _boundary(data: bytes, size: int) -> int:
    """The largest size up to ``size`` that cuts no character of UTF-8 in two."""
    for back in range(4):
        if data[size - back] & 0xC0 != 0x80:
            return size - back
    return size  # it is not UTF-8


def _whole(data: bytes) -> int:
    """The size of ``data`` without an unfinished character at its end."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            needs = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return len(data) - back if needs > back else len(data)
    return len(data)
