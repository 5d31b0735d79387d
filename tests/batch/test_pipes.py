"""Input from another program: standard input and pipes, whatever state they are in."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procorch import BatchHalted, BatchInputError, BatchRun, run_batch
from procorch.batch.formats import FileFormat
from procorch.batch.sources import PipeSource
from tests.batch import agents

JSONL, LINES = FileFormat("jsonl", None), FileFormat("lines", None)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading end and the writing end, which the test closes."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def read(fd: int, form: FileFormat = JSONL) -> list[Any]:
    return [item.value for item in PipeSource(fd, "a pipe", form, None).items()]


def test_a_non_blocking_pipe_is_waited_for(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(reading, False)
    items = PipeSource(reading, "a pipe", JSONL, None).items()
    late = threading.Timer(0.2, lambda: (os.write(writing, b"1\n2"), os.close(writing)))
    late.start()
    assert [item.value for item in items] == [1, 2]
    late.join()


def test_lines_that_come_in_pieces_are_put_together(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    texts = [b"a", b"b\n\nc\nd", b"d\n", b"e"]
    items = PipeSource(reading, "a pipe", LINES, None).items()

    def write() -> None:
        for text in texts:
            os.write(writing, text)
            time.sleep(0.01)
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    assert [(item.id, item.value) for item in items] == [
        ("1", "ab"), ("3", "c"), ("4", "dd"), ("5", "e"),
    ]  # fmt: skip
    writer.join()


def test_a_line_of_64_mb_takes_linear_time(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    text = memoryview(b"x" * (64 << 20) + b"\n")

    def write() -> None:
        sent = 0
        while sent < len(text):
            sent += os.write(writing, text[sent:])
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    began = time.monotonic()
    (line,) = read(reading, LINES)
    writer.join()
    assert len(line) == 64 << 20
    assert time.monotonic() - began < 20  # quadratic: more than a minute


def test_a_connection_that_is_reset_is_an_input_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    with ours:
        theirs.sendall(b"1\n")
        items = PipeSource(ours.fileno(), "standard input", JSONL, None).items()
        assert next(items).value == 1
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        with pytest.raises(BatchInputError, match="standard input cannot be read: Connection res"):
            next(items)


def test_a_directory_or_a_write_only_descriptor_cannot_be_read(tmp_path: Path) -> None:
    for flags, path in ((os.O_RDONLY, tmp_path), (os.O_WRONLY | os.O_CREAT, tmp_path / "file")):
        fd = os.open(path, flags)
        with pytest.raises(BatchInputError, match="cannot be read"):
            read(fd)
        os.close(fd)


@pytest.mark.parametrize("live", [True, False])
def test_whatever_the_input_raises_ends_the_batch_with_it(tmp_path: Path, live: bool) -> None:
    """What was begun before is finished and kept."""

    def name(item: int) -> str:
        if item == 3:
            raise LookupError("no name for 3")
        return f"n{item}"

    items: Any = iter([1, 2, 3, 4])
    if live:
        items = tmp_path / "fifo"
        os.mkfifo(items)
        writer = threading.Thread(target=items.write_text, args=("1\n2\n3\n4\n",))
        writer.start()
    done = []

    def take_all(run: BatchRun) -> None:
        for item in run:
            done.append((item.id, item.output))

    form = "jsonl" if live else "auto"
    out = tmp_path / "run.db"
    with (
        run_batch(agents.double, items, out=out, workers=1, id=name, format=form) as run,
        pytest.raises(LookupError, match="no name for 3"),
    ):
        take_all(run)
    assert done == [("n1", 2), ("n2", 4)]
    assert run.progress().ended == "broken"
    if live:
        writer.join()


def test_a_batch_that_ends_early_reads_no_more(tmp_path: Path) -> None:
    """The thread that reads ends, though there is more than it has room for."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_text, args=("1\n" * 1000,))
    writer.start()
    with (
        run_batch(
            agents.double, fifo, out=None, workers=1, format="jsonl", halt="now,success=1"
        ) as run,
        pytest.raises(BatchHalted),
    ):
        run.wait()
    writer.join()
    for thread in threading.enumerate():
        if thread.name == "procorch-input":
            thread.join(10)
            assert not thread.is_alive()
