"""What the agents print, in log files: the output sink of the daemon.

`LogWriter` has output cut into lines without secrets (`log_streams`), and appends the lines of each
agent to a file of its own (`log_file`). It rotates the files between lines. A thread does what
takes time or has a time: it compresses and removes rotated files (`log_archive`), writes unfinished
lines that have waited long enough, and tries a full disk again.

The lock is held while a file is written, but never while one is compressed, while the terminal is
waited for, or while something is logged: the daemon's own log may come back here.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from procorch.daemon.logs.archive import LogArchive
from procorch.daemon.logs.console import Console
from procorch.daemon.logs.current_file import CurrentFile, Record, Room
from procorch.daemon.logs.folder import LogFolder, file_of
from procorch.daemon.logs.lines import LogLine, as_json, as_text, gap
from procorch.daemon.logs.streams import LogStreams, SizedLine, Source, Stream
from procorch.daemon.specs import LogSettings

_log = logging.getLogger("procorch")

_SOON, _SELDOM = 0.2, 5.0
"""Seconds between two looks of the thread: while something waits, and otherwise."""
_RETENTION = 60.0
"""Seconds between two looks at the age of rotated files."""
_LEAST = 65536
"""Bytes that a file may have in any case, however many files share the total."""


class LogWriter:
    """Writes log files; see `procorch.OutputSink`. All methods may be called from any thread.

    Args:
        path: the folder of the log files, made with mode 0700 where there is none.
        settings: how they are kept.
        mask: hides secrets in a text.
        echo: also write the lines on standard output, in this form.

    Attributes:
        changed: notified when lines were written, and when the writer is closed.
        closed: `close` was called.
        written: how often lines were written.

    Raises:
        OSError: the folder cannot be made or used.
    """

    def __init__(
        self,
        path: Path,
        settings: LogSettings,
        mask: Callable[[str], str],
        *,
        echo: Literal["text", "json"] | None = None,
    ) -> None:
        self._folder = LogFolder(path)
        self._folder.clean()
        self._settings = settings
        self._lock = threading.RLock()
        self.changed: threading.Condition = threading.Condition(self._lock)
        self.closed: bool = False
        self.written: int = 0
        self._streams = LogStreams(mask)
        self._files: dict[str, CurrentFile] = {}
        self._room = Room()
        self._in_trouble: set[str] = set()
        self._remarks: list[tuple[int, str]] = []
        self._archive = LogArchive(self._folder, settings, lambda: self.closed)
        self._untidy = True
        self._console = None if echo is None else Console(echo)
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="procorch-logs", daemon=True)
        self._thread.start()

    # ---- the sink

    def write(
        self,
        agent: str,
        instance: int,
        generation: int,
        request: int | None,
        stream: Stream,
        data: bytes,
    ) -> None:
        """See `procorch.OutputSink`."""
        source = Source(agent, instance, generation, stream)
        with self._lock:
            waited = bool(self._streams.unfinished)
            self._add(agent, self._streams.feed(source, request, data, time.time()))
            if self._streams.unfinished and not waited:
                self._wake.set()
        self._follow_up()

    def missing(
        self,
        agent: str,
        instance: int,
        generation: int,
        request: int | None,
        stream: Stream,
        count: int,
    ) -> None:
        """See `procorch.OutputSink`."""
        marker = gap(time.time(), agent, count, instance, generation, request, stream)
        with self._lock:
            lines = self._streams.finish(Source(agent, instance, generation, stream))
            self._add(agent, [*lines, SizedLine(marker, count)])
        self._follow_up()

    def ended(self, agent: str, instance: int, generation: int) -> None:
        """See `procorch.OutputSink`."""
        with self._lock:
            for stream in ("stdout", "stderr"):
                source = Source(agent, instance, generation, stream)
                self._add(agent, self._streams.finish(source))
        self._follow_up()

    # ---- for the owner

    def reconfigure(self, settings: LogSettings) -> None:
        """Use other settings from the next line on."""
        with self._lock:
            self._settings = self._archive.settings = settings
            self._untidy = True
        self._wake.set()

    def rotate(self) -> list[str]:
        """Rotate all log files that are not empty; they are compressed later.

        Returns:
            The names that they will have.
        """
        with self._lock:
            names = [
                self._rotate(self._files.get(each.name) or self._of_folder(each.name, ""))
                for each in self._folder.files()
                if not each.number and each.size
            ]
        self._follow_up()
        return sorted(f"{name}.gz" for name in names if name is not None)

    def disk(self) -> dict[str, Any]:
        """Bytes of all log files, and how many they may have."""
        return {"bytes": self._archive.size(), "limit": self._settings.total}

    def prune(self) -> int:
        """Remove what the settings do not keep; returns the number of bytes."""
        return self._archive.retain(time.time(), self._written())

    def close(self) -> None:
        """Write what waits, as far as the disk takes it, and end the thread. Idempotent."""
        with self._lock:
            if self.closed:
                return
            for each in self._streams.finish_all():
                self._add(each.line.agent, [each])
            self.closed = True
            now = time.time()
            for file in self._files.values():
                file.close(now)
            self.changed.notify_all()
        self._wake.set()
        self._thread.join()
        self._follow_up()
        if self._console is not None:
            self._console.close(timeout=1.0)
        with self._lock:
            self._folder.close()

    # ---- for readers

    def position(self, agent: str) -> tuple[int, int]:
        """Where the next line of an agent will be: the number that its file will have when it is
        rotated, and the offset in it."""
        with self._lock:
            file = self._file(agent)
            return file.number, file.size

    def open(self, agent: str, number: int) -> IO[bytes] | None:
        """Open the file of an agent that has this number; None: there is none, or no longer."""
        log = file_of(agent)
        with self._lock:
            if self.closed:
                return None
            if number == self._file(agent).number:
                return self._folder.open_to_read(log)
            return self._folder.open_rotated(log, number)

    def rotated(self, agent: str) -> list[tuple[int, float]]:
        """The rotated files of an agent, the oldest first: the number of each, and the time when
        its last line was written."""
        with self._lock:
            files = [] if self.closed else self._folder.rotated(file_of(agent))
        return [(file.number, file.time) for file in files]

    # ---- with the lock

    def _file(self, agent: str) -> CurrentFile:
        log = file_of(agent)
        file = self._files.get(log)
        if file is None:
            file = self._files[log] = self._of_folder(log, agent)
            file.look()
        return file

    def _of_folder(self, log: str, agent: str) -> CurrentFile:
        """A file of which nothing is known but what is in the folder."""
        number = max((each.number for each in self._folder.rotated(log)), default=0)
        return CurrentFile(
            self._folder, log, number, self._room,
            lambda now, count: self._form(gap(now, agent, count)),
        )  # fmt: skip

    def _form(self, line: LogLine) -> bytes:
        return as_json(line) if self._settings.format == "json" else as_text(line)

    def _add(self, agent: str, lines: Sequence[SizedLine]) -> None:
        """Write lines of an agent."""
        if not lines or self.closed:
            return
        now, steady = time.time(), time.monotonic()
        file = self._file(agent)
        if self._is_old(file, now):
            self._rotate(file)
        size, limit, batch = file.size, self._limit(), list[Record]()
        for line, stands_for in lines:
            data = self._form(line)
            if size and size + len(data) > limit:
                if batch:
                    file.append(batch, now, steady)
                    batch = []
                if self._rotate(file) is None:
                    limit = sys.maxsize
                size = file.size
            batch.append(Record(data, stands_for))
            size += len(data)
        file.append(batch, now, steady)
        self._judge(file)
        self._notify()
        if self._console is not None:
            self._console.show([line for line, _ in lines])

    def _notify(self) -> None:
        self.written += 1
        self.changed.notify_all()

    def _limit(self) -> int:
        """Bytes of one file: the files that are written may have half of the total."""
        most = self._settings.total // (2 * len(self._files))
        return min(self._settings.max_size, max(most, _LEAST))

    def _is_old(self, file: CurrentFile, now: float) -> bool:
        age = self._settings.max_age
        return age is not None and file.born is not None and now - file.born > age

    def _rotate(self, file: CurrentFile) -> str | None:
        """Rotate a file that has lines; None: the disk takes nothing, and it goes on."""
        if file.behind:
            return None
        try:
            name = file.rotate()
        except OSError as error:
            path = self._folder.path / file.log
            self._remarks.append((logging.WARNING, f"{path} could not be rotated: {error}"))
            return None
        self._untidy = True
        self._wake.set()
        return name

    def _judge(self, file: CurrentFile) -> None:
        """Say once that the disk does not take the lines of a file, and that it does again."""
        path = self._folder.path / file.log
        if file.trouble is not None and file.log not in self._in_trouble:
            self._in_trouble.add(file.log)
            self._wake.set()
            why = file.trouble.strerror or file.trouble
            text = f"{path} cannot be written: {why}; the agents go on, and some output may be lost"
            self._remarks.append((logging.WARNING, text))
        elif file.trouble is None and file.log in self._in_trouble:
            self._in_trouble.discard(file.log)
            self._remarks.append((logging.INFO, f"{path} is written again"))

    def _written(self) -> set[str]:
        with self._lock:
            return set(self._files)

    # ---- without the lock

    def _follow_up(self) -> None:
        if self._remarks:
            with self._lock:
                remarks, self._remarks = self._remarks, []
            for level, text in remarks:
                _log.log(level, "%s", text)
        if self._console is not None:
            self._console.wait()

    def _run(self) -> None:
        next_retention = 0.0
        while not self.closed:
            self._look()
            self._follow_up()
            untidy, self._untidy = self._untidy, False
            if untidy or time.monotonic() > next_retention:
                next_retention = time.monotonic() + _RETENTION
                self._archive.tidy(time.time(), self._written)
            self._wake.wait(_SOON if self._streams.unfinished or self._in_trouble else _SELDOM)
            self._wake.clear()

    def _look(self) -> None:
        """Do what is due."""
        with self._lock:
            now, steady = time.time(), time.monotonic()
            for each in self._streams.overdue(now):
                self._add(each.line.agent, [each])
            for file in self._files.values():
                file.notice_removal()
                if file.behind:
                    file.catch_up(now, steady)
                    self._judge(file)
                    self._notify()
                elif self._is_old(file, now):
                    self._rotate(file)
