"""A writer that is killed while it writes: what it has acknowledged must be there afterwards."""

from __future__ import annotations

import queue
import subprocess
import sys
import time
from pathlib import Path

from procorch.batch.journal import Journal
from procorch.batch.reader import Reader
from procorch.batch.records import ItemRecord
from procorch.batch.writer import Committed, Writer, WriterEvent


def main(path: Path) -> None:
    """Write rows without end; print the number of each when it is acknowledged."""
    journal = Journal(path)
    journal.begin({}, "started", afresh=False)
    news: queue.SimpleQueue[WriterEvent] = queue.SimpleQueue()
    writer = Writer(journal, news.put)
    number = 0
    while True:
        for _ in range(50):
            row = ItemRecord(
                id=str(number), position=number, digest=b"", ok=True, output="x" * (number % 999)
            )
            writer.put(row, number)
            number += 1
        told = news.get()
        assert isinstance(told, Committed), told
        print(max(told.tokens) + 1, flush=True)


def acknowledged_and_kept(path: Path, after: float) -> tuple[int, int]:
    """Kill a writer ``after`` seconds from its first acknowledgement.

    Returns:
        How many rows it had acknowledged, and how many the journal has; none has a gap before it.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.batch.journal_kills", str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(after)  # the moment is what the trial is about
    process.kill()
    rest, _ = process.communicate()
    told = (first + rest).split("\n")[:-1]  # a line that was cut was not told
    journal = Journal(path)  # its lock has gone with it
    journal.close()
    with Reader(path) as reader:
        ids = [int(row.id) for row in reader.rows()]
    assert ids == list(range(len(ids)))
    return int(told[-1]), len(ids)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
