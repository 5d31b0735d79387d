"""Reading log files: the past of several agents by time, the last lines, and followers."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procorch.daemon.logs import reader as log_reader
from procorch.daemon.logs.lines import LogLine, as_json
from procorch.daemon.logs.reader import LogStream
from procorch.daemon.logs.writer import LogWriter
from procorch.daemon.specs import LogSettings

MOST = 30.0  # seconds


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[LogWriter]:
    made = LogWriter(tmp_path / "logs", LogSettings(max_size=5000, keep=None), str)
    yield made
    made.close()


def out(logs: LogWriter, text: object, agent: str = "a") -> None:
    logs.write(agent, 0, 1, None, "stdout", f"{text}\n".encode())


def texts(stream: LogStream) -> list[str]:
    return [line["text"] for line in stream]


def take(stream: LogStream, count: int) -> list[str]:
    return [line["text"] for line in itertools.islice(stream, count)]


def past(folder: Path, agent: str, lines: list[tuple[float, str]]) -> None:
    """Write the file of an agent with lines of other times."""
    folder.mkdir(exist_ok=True)
    data = [as_json(LogLine(at, agent, 0, 1, None, "stdout", text)) for at, text in lines]
    (folder / f"{agent}.log").write_bytes(b"".join(data))


# ---- the past


def test_lines_of_all_files_come_oldest_first(logs: LogWriter) -> None:
    for number in range(300):
        out(logs, number)
    assert len(logs.rotated("a")) > 3
    found = list(log_reader.read(logs, ["a"]))
    assert [line["text"] for line in found] == [str(number) for number in range(300)]
    assert {key: found[0][key] for key in ("agent", "instance", "generation", "stream")} == {
        "agent": "a",
        "instance": 0,
        "generation": 1,
        "stream": "stdout",
    }


@pytest.mark.parametrize("last", [0, 1, 10, 45, 299, 300, 1000])
def test_the_last_lines_come_from_as_many_files_as_needed(logs: LogWriter, last: int) -> None:
    for number in range(300):
        out(logs, number)
    expected = [str(number) for number in range(300)][max(0, 300 - last) :]
    assert texts(log_reader.read(logs, ["a"], last=last)) == expected


def test_agents_are_merged_by_time_and_last_counts_all_together(tmp_path: Path) -> None:
    past(tmp_path / "logs", "a", [(1.0, "a1"), (3.0, "a3"), (5.0, "a5")])
    past(tmp_path / "logs", "b", [(2.0, "b2"), (4.0, "b4")])
    logs = LogWriter(tmp_path / "logs", LogSettings(max_age=None, keep=None), str)
    try:
        assert texts(log_reader.read(logs, ["b", "a"])) == ["a1", "b2", "a3", "b4", "a5"]
        assert texts(log_reader.read(logs, ["a", "b"], last=2)) == ["b4", "a5"]
        assert texts(log_reader.read(logs, ["a", "b"], since=3.0)) == ["a3", "b4", "a5"]
        assert texts(log_reader.read(logs, ["a", "b"], since=2.5, last=1)) == ["a5"]
        assert texts(log_reader.read(logs, ["b", "nobody"])) == ["b2", "b4"]
    finally:
        logs.close()


def test_lines_of_an_agent_keep_their_order_when_the_clock_jumps_back(tmp_path: Path) -> None:
    past(tmp_path / "logs", "a", [(100.0, "one"), (50.0, "two"), (101.0, "three")])
    past(tmp_path / "logs", "b", [(60.0, "other")])
    logs = LogWriter(tmp_path / "logs", LogSettings(max_age=None, keep=None), str)
    try:
        assert texts(log_reader.read(logs, ["a", "b"])) == ["other", "one", "two", "three"]
        assert texts(log_reader.read(logs, ["a"], last=2)) == ["two", "three"]
    finally:
        logs.close()


def test_text_files_can_be_read_back_and_damaged_lines_are_left_out(tmp_path: Path) -> None:
    logs = LogWriter(tmp_path / "logs", LogSettings(format="text"), str)
    logs.write("a", 2, 1, 9, "stderr", b"a: b/0 out: c\n")
    logs.close()
    with (tmp_path / "logs" / "a.log").open("ab") as file:
        file.write(b'{"time": 1\n\xff\n')
    logs = LogWriter(tmp_path / "logs", LogSettings(format="text"), str)
    try:
        out(logs, "after")
        (line, after) = log_reader.read(logs, ["a"])
        assert (line["instance"], line["stream"], line["text"]) == (2, "stderr", "a: b/0 out: c")
        assert abs(line["time"] - time.time()) < 60
        assert after["text"] == "after"
    finally:
        logs.close()


def test_the_last_lines_of_a_large_file_do_not_cost_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past(tmp_path / "logs", "a", [(1.0, f"{number} {'.' * 1000}") for number in range(20_000)])
    logs = LogWriter(tmp_path / "logs", LogSettings(max_age=None, keep=None), str)
    read = 0
    opened = logs.open

    def counting(agent: str, number: int) -> Any:
        file = opened(agent, number)
        reading = file.read

        class Counting:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *args: object) -> None:
                file.close()

            def seek(self, *args: int) -> int:
                return int(file.seek(*args))

            def read(self, size: int) -> bytes:
                nonlocal read
                read += size
                return bytes(reading(size))

        return Counting()

    monkeypatch.setattr(logs, "open", counting)
    try:
        found = texts(log_reader.read(logs, ["a"], last=10))
        assert [text.split()[0] for text in found] == [str(n) for n in range(19_990, 20_000)]
        assert 0 < read < 200_000
    finally:
        logs.close()


# ---- followers


def test_a_follower_gets_the_past_and_then_what_comes(logs: LogWriter) -> None:
    for number in range(5):
        out(logs, number)
    stream = log_reader.read(logs, ["a", "b"], follow=True, last=2)
    out(logs, 5)
    assert take(stream, 3) == ["3", "4", "5"]
    threading.Timer(0.05, out, (logs, "other", "b")).start()
    assert take(stream, 1) == ["other"]
    stream.close()
    assert texts(stream) == []


def test_closing_a_follower_ends_its_wait(logs: LogWriter) -> None:
    stream = log_reader.read(logs, ["a"], follow=True)
    found: list[str] = []
    reader = threading.Thread(target=lambda: [found.append(it["text"]) for it in stream])
    reader.start()
    out(logs, "one")
    while not found:
        time.sleep(0.001)
    stream.close()
    reader.join(MOST)
    assert not reader.is_alive()
    assert found == ["one"]


def test_a_follower_gets_the_last_lines_of_a_daemon_that_ends(logs: LogWriter) -> None:
    stream = log_reader.read(logs, ["a"], follow=True)
    out(logs, "one")
    assert take(stream, 1) == ["one"]
    logs.write("a", 0, 1, None, "stdout", b"no newline")
    logs.close()
    assert texts(stream) == ["no newline"]


def test_a_follower_whose_file_was_removed_is_told(logs: LogWriter) -> None:
    stream = log_reader.read(logs, ["a"], follow=True)
    out(logs, "gone")
    logs.rotate()
    logs.reconfigure(LogSettings(keep=0.0))
    end = time.monotonic() + MOST
    while logs.rotated("a"):
        logs.prune()
        assert time.monotonic() < end
    out(logs, "there")
    first, second = take(stream, 2)
    assert "removed before it was read" in first
    assert second == "there"
    stream.close()


@pytest.mark.parametrize("count", [20_000])
def test_numbered_lines_over_rotations_none_lost_and_none_twice(tmp_path: Path, count: int) -> None:
    """The small form of tests/soak/logs.py."""
    logs = LogWriter(tmp_path / "logs", LogSettings(max_size=count * 120 // 50), str)
    streams = [log_reader.read(logs, ["a"], follow=True) for _ in range(2)]
    found: list[list[int]] = [[], []]
    readers = [
        threading.Thread(target=lambda s=s, f=f: f.extend(int(line["text"]) for line in s))
        for s, f in zip(streams, found, strict=True)
    ]
    for reader in readers:
        reader.start()
    try:
        for start in range(0, count, 25):
            data = "".join(f"{number}\n" for number in range(start, start + 25)).encode()
            logs.write("a", 0, 1, None, "stdout", data[:70])
            logs.write("a", 0, 1, None, "stdout", data[70:])
        assert len(logs.rotated("a")) >= 40
        again = [int(line["text"]) for line in log_reader.read(logs, ["a"])]
    finally:
        logs.close()
        for reader in readers:
            reader.join(MOST)
    assert again == found[0] == found[1] == list(range(count))
