"""The streams of all processes, and the lines that they have not finished."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from procorch.daemon.logs.lines import LineCutter, LogLine, Piece

PARTIAL = 1.0
"""Seconds that an unfinished line waits for its rest."""

Stream: TypeAlias = Literal["stdout", "stderr"]


class Source(NamedTuple):
    """One stream of one process."""

    agent: str
    instance: int
    generation: int
    stream: Stream


class SizedLine(NamedTuple):
    """A line without secrets; ``size``: bytes of output that it stands for."""

    line: LogLine
    size: int


class LogStreams:
    """Makes lines of what processes write. Its owner holds a lock around each call.

    Args:
        mask: hides secrets in a text.

    Attributes:
        unfinished: the streams whose last line waits for its rest.
    """

    def __init__(self, mask: Callable[[str], str]) -> None:
        self.unfinished: set[Source] = set()
        self._mask = mask
        self._cutters: dict[Source, LineCutter] = {}

    def feed(self, source: Source, request: int | None, data: bytes, now: float) -> list[SizedLine]:
        """The lines that are complete with ``data``."""
        cutter = self._cutters.get(source)
        if cutter is None:
            cutter = self._cutters[source] = LineCutter()
        pieces = cutter.feed(data, request, now)
        self._note(source, cutter)
        return self._lines(source, pieces)

    def finish(self, source: Source) -> list[SizedLine]:
        """The unfinished line of a stream that ends here."""
        self.unfinished.discard(source)
        cutter = self._cutters.pop(source, None)
        return [] if cutter is None else self._lines(source, cutter.cut(final=True))

    def finish_all(self) -> list[SizedLine]:
        """The same of all streams."""
        return [each for source in list(self._cutters) for each in self.finish(source)]

    def overdue(self, now: float) -> list[SizedLine]:
        """The parts of lines that have waited for their rest long enough."""
        found = []
        for source in list(self.unfinished):
            cutter = self._cutters[source]
            if cutter.since is not None and not 0 <= now - cutter.since < PARTIAL:
                found += self._lines(source, cutter.cut(final=False))
                self._note(source, cutter)
        return found

    def _note(self, source: Source, cutter: LineCutter) -> None:
        if cutter.since is None:
            self.unfinished.discard(source)
        else:
            self.unfinished.add(source)

    def _lines(self, source: Source, pieces: list[Piece]) -> list[SizedLine]:
        agent, instance, generation, stream = source
        lines = []
        for time, request, data, size, continued in pieces:
            text = self._mask(data.decode("utf-8", "replace"))
            line = LogLine(
                time, agent, instance, generation, request, stream, text, continued=continued
            )
            lines.append(SizedLine(line, size))
        return lines
