"""Log files of the daemon: lines, rotation, retention, secrets, modes, a disk that is full."""

from __future__ import annotations

import gzip
import json
import logging
import os
import resource
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentFailure, AgentStatus, BackingOff, Crashed, Escalated, Stopped
from procorch.daemon.logs.folder import file_of
from procorch.daemon.logs.handler import LogHandler
from procorch.daemon.logs.lines import LONGEST
from procorch.daemon.logs.writer import LogWriter
from procorch.daemon.specs import LogSettings
from procorch.telemetry import log

Make = Callable[..., LogWriter]
MOST = 20.0  # seconds


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Make]:
    """Makes writers, which are closed at the end."""
    made: list[LogWriter] = []

    def make(*, mask: Callable[[str], str] = str, echo: Any = None, **settings: Any) -> LogWriter:
        made.append(LogWriter(tmp_path / "logs", LogSettings(**settings), mask, echo=echo))
        return made[-1]

    yield make
    for each in made:
        each.close()


def out(logs: LogWriter, data: bytes, agent: str = "a", request: int | None = None) -> None:
    logs.write(agent, 0, 1, request, "stdout", data)


def lines(folder: Path, agent: str = "a") -> list[dict[str, Any]]:
    """All lines of an agent in the folder, rotated ones first; none is damaged."""
    while True:
        paths = {it.name.removesuffix(".gz"): it for it in sorted(folder.glob(f"{agent}.log*"))}
        numbered = sorted((name.split("-")[-1], path) for name, path in paths.items())
        try:
            data = b"".join(content(path) for _, path in numbered if path.suffix != ".tmp")
        except FileNotFoundError:  # it was just compressed
            continue
        return [json.loads(line) for line in data.decode().split("\n")[:-1]]


def content(path: Path) -> bytes:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    assert not data or data.endswith(b"\n"), path
    return data


def texts(folder: Path, agent: str = "a") -> list[str]:
    return [line["text"] for line in lines(folder, agent)]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + MOST
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- lines


def test_a_line_of_json_says_when_and_who(writer: Make, tmp_path: Path) -> None:
    logs = writer()
    before = time.time()
    logs.write("solver", 2, 3, 41, "stderr", "grüße\n\n".encode())
    first, second = lines(tmp_path / "logs", "solver")
    assert before <= first.pop("time") <= time.time()
    assert first == {
        "agent": "solver",
        "instance": 2,
        "generation": 3,
        "request": 41,
        "stream": "stderr",
        "text": "grüße",
    }
    assert second["text"] == ""


def test_a_line_of_text_is_for_people(writer: Make, tmp_path: Path) -> None:
    logs = writer(format="text")
    logs.write("solver", 0, 1, None, "stdout", b"to be\n")
    logs.write("solver", 1, 1, None, "stderr", b"not to be\n")
    first, second = (tmp_path / "logs" / "solver.log").read_text().splitlines()
    stamp, _, rest = first.partition(" ")
    assert time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")
    assert stamp[19] == "."
    assert stamp[20:].rstrip("Z").isdigit()
    assert rest == "solver/0 out: to be"
    assert second.endswith(" solver/1 err: not to be")


def test_pieces_become_lines_in_the_order_of_each_stream(writer: Make, tmp_path: Path) -> None:
    logs = writer()
    out(logs, b"one\ntw", request=1)
    logs.write("a", 0, 1, None, "stderr", b"bad")
    out(logs, b"o\nthr", request=2)
    logs.write("a", 0, 1, None, "stderr", b" news\n")
    out(logs, b"ee\n", request=3)
    found = [(line["stream"], line["text"], line["request"]) for line in lines(tmp_path / "logs")]
    assert [it for it in found if it[0] == "stdout"] == [
        ("stdout", "one", 1), ("stdout", "two", 1), ("stdout", "three", 2),
    ]  # fmt: skip
    assert [it for it in found if it[0] == "stderr"] == [("stderr", "bad news", None)]


def test_bytes_that_are_no_text_are_replaced(writer: Make, tmp_path: Path) -> None:
    out(writer(), b"a\xff\x00b\xe2\x82\n")
    assert texts(tmp_path / "logs") == ["a\ufffd\x00b\ufffd"]


def test_a_long_line_is_cut_at_characters_and_says_so(writer: Make, tmp_path: Path) -> None:
    text = "x" + "ä" * LONGEST
    logs = writer()
    data = text.encode() + b"\nnext\n"
    for start in range(0, len(data), 50_001):
        out(logs, data[start : start + 50_001])
    found = lines(tmp_path / "logs")
    assert "".join(line["text"] for line in found[:-1]) == text
    assert [line.get("continued", False) for line in found] == [True, True, False, False]
    assert all(len(line["text"].encode()) <= LONGEST for line in found)


def test_the_rest_of_a_process_is_a_line_when_it_has_ended(writer: Make, tmp_path: Path) -> None:
    logs = writer()
    out(logs, b"last wor")
    out(logs, b"ds")
    assert not lines(tmp_path / "logs")
    logs.ended("a", 0, 1)
    assert texts(tmp_path / "logs") == ["last words"]


def test_a_line_without_an_end_is_there_after_a_second(writer: Make, tmp_path: Path) -> None:
    logs = writer()
    out(logs, "progress 5 %ä".encode()[:-1])
    wait_until(lambda: bool(lines(tmp_path / "logs")))
    out(logs, "ä".encode()[1:] + b" done\n")
    first, second = lines(tmp_path / "logs")
    assert (first["text"], first["continued"]) == ("progress 5 %", True)
    assert second["text"] == "ä done"


def test_the_log_of_the_daemon_has_one_line_for_a_failure(writer: Make, tmp_path: Path) -> None:
    logs = writer()
    handler = LogHandler(logs)
    handler.install()
    try:
        broken, other = AgentFailure("it is broken"), AgentFailure("a request has failed")
        for notice in (
            Crashed(agent="a", generation=1, at=1.0, error=broken),
            Escalated(agent="a", generation=1, at=1.0, error=broken, path=("a",)),
            BackingOff(agent="a", generation=1, at=1.0, delay=0.9),
            BackingOff(agent="a", generation=1, at=1.0, delay=4.0),
            Escalated(agent="a", generation=2, at=2.0, error=other, path=("a",)),
            Stopped(agent="a", generation=2, at=2.0, status=AgentStatus.FAILED, error=broken),
            Stopped(agent="b", generation=1, at=3.0, status=AgentStatus.STOPPED, error=None),
        ):
            if log.wanted(notice):
                log.write(notice)
    finally:
        handler.remove()
    logs.close()
    assert texts(tmp_path / "logs", "daemon") == [
        f"warning: {broken}", "warning: agent 'a': next start in 4.0 s", f"info: {other}",
        "info: agent 'b' ended STOPPED",
    ]  # fmt: skip


def test_close_writes_what_waits(writer: Make, tmp_path: Path) -> None:
    logs = writer()
    out(logs, b"no newline")
    logs.close()
    logs.close()
    assert texts(tmp_path / "logs") == ["no newline"]


def test_output_that_was_dropped_has_a_line_with_the_number_of_bytes(
    writer: Make, tmp_path: Path
) -> None:
    logs = writer()
    out(logs, b"one\nhalf")
    logs.missing("a", 0, 1, 7, "stdout", 4711)
    out(logs, b"two\n")
    found = lines(tmp_path / "logs")
    assert [line.get("lost", line["text"]) for line in found] == ["one", "half", 4711, "two"]
    assert (found[2]["stream"], found[2]["request"]) == ("stdout", 7)


def test_secrets_are_hidden(writer: Make, tmp_path: Path, capfd: Any) -> None:
    logs = writer(mask=lambda text: text.replace("s3cr3t", "***"), echo="text")
    out(logs, b"key=s3cr")
    out(logs, b"3t;\n")
    logs.close()
    assert texts(tmp_path / "logs") == ["key=***;"]
    assert "s3cr3t" not in (tmp_path / "logs" / "a.log").read_text() + capfd.readouterr().out


# ---- files


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_only_the_owner_can_read_them(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        logs = LogWriter(tmp_path / "logs", LogSettings(max_size=10), str)
        out(logs, b"first\n")
        out(logs, b"second\n")
        wait_until(lambda: bool(list((tmp_path / "logs").glob("*.gz"))))
        logs.close()
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "logs").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700


def test_links_are_not_followed(writer: Make, tmp_path: Path, caplog: Any) -> None:
    logs = writer()
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "logs" / "a.log").symlink_to(tmp_path / "precious")
    with caplog.at_level(logging.WARNING, "procorch"):
        out(logs, b"line\n")
        out(logs, b"line\n")
    assert (tmp_path / "precious").read_text() == "mine"
    assert len(caplog.records) == 1
    assert "a.log cannot be written" in caplog.text


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").symlink_to(tmp_path)
    with pytest.raises(OSError, match="logs"):
        LogWriter(tmp_path / "logs", LogSettings(), str)


@pytest.mark.parametrize("agent", ["a/b", "../up", ".hidden", "with space", "ü" * 300, "a%2Fb"])
def test_any_name_has_a_file_of_its_own_in_the_folder(
    writer: Make, tmp_path: Path, agent: str
) -> None:
    logs = writer()
    out(logs, b"line\n", agent)
    out(logs, b"other\n", "a_b")
    (path,) = [it for it in (tmp_path / "logs").iterdir() if it.name != "a_b.log"]
    assert path.name == file_of(agent)
    assert not path.name.startswith(".")
    assert json.loads(path.read_text())["agent"] == agent


def test_a_file_that_somebody_has_removed_is_made_again(writer: Make, tmp_path: Path) -> None:
    logs = writer()
    out(logs, b"before\n")
    (tmp_path / "logs" / "a.log").unlink()
    out(logs, b"unfinished")  # the thread looks soon
    wait_until(lambda: (tmp_path / "logs" / "a.log").exists())
    assert texts(tmp_path / "logs") == ["unfinished"]


# ---- rotation


def test_files_are_rotated_by_size_between_lines_and_compressed(
    writer: Make, tmp_path: Path
) -> None:
    logs = writer(max_size=1000)
    for number in range(100):
        out(logs, b"%d\n" % number)
    folder = tmp_path / "logs"
    wait_until(lambda: len(list(folder.glob("*.gz"))) == len(list(folder.iterdir())) - 1 > 5)
    assert texts(folder) == [str(number) for number in range(100)]
    packed = sorted(folder.glob("*.gz"))
    assert all(len(gzip.decompress(path.read_bytes())) <= 1000 for path in packed)
    assert [int(path.name.split("-")[-1][:6]) for path in packed] == [*range(1, len(packed) + 1)]
    assert (folder / "a.log").stat().st_size <= 1000


def test_files_are_rotated_by_age_also_over_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    with closed(LogWriter(folder, LogSettings(), str)) as logs:
        out(logs, b"yesterday\n")
    old = (folder / "a.log").read_text().replace(lines(folder)[0]["time"].__repr__(), "1000.5")
    (folder / "a.log").write_text(old)
    with closed(LogWriter(folder, LogSettings(max_age=86400, keep=None), str)) as logs:
        out(logs, b"today\n")
        assert [line["text"] for line in lines(folder)] == ["yesterday", "today"]
        wait_until(lambda: not unpacked(folder))
        assert len(list(folder.glob("a.log.*"))) == 1


def test_rotate_now_names_the_new_files(writer: Make, tmp_path: Path) -> None:
    logs = writer()
    assert logs.rotate() == []
    out(logs, b"one\n", "a")
    out(logs, b"two\n", "b")
    first, second = logs.rotate()
    assert first.startswith("a.log.")
    assert second.startswith("b.log.")
    wait_until(lambda: (tmp_path / "logs" / first).exists())
    wait_until(lambda: (tmp_path / "logs" / second).exists())
    assert not (tmp_path / "logs" / "a.log").exists()
    out(logs, b"three\n")
    assert texts(tmp_path / "logs") == ["one", "three"]


def test_other_settings_apply_to_the_next_line(writer: Make, tmp_path: Path) -> None:
    logs = writer()
    for _ in range(3):
        out(logs, b"line\n")
    logs.reconfigure(LogSettings(max_size=1, format="text"))
    out(logs, b"after\n")
    assert (tmp_path / "logs" / "a.log").read_text().endswith("a/0 out: after\n")
    wait_until(lambda: not unpacked(tmp_path / "logs"))
    assert len(list((tmp_path / "logs").glob("a.log.*"))) == 1


def test_the_oldest_rotated_files_go_beyond_the_total(writer: Make, tmp_path: Path) -> None:
    logs = writer(max_size=20_000, total=100_000)
    noise = os.urandom(30_000).hex().encode()
    for number in range(40):
        out(logs, b"%04d %s\n" % (number, noise[number * 1000 : number * 1000 + 9000]))
    folder = tmp_path / "logs"
    wait_until(lambda: logs.disk()["bytes"] <= 100_000 and not unpacked(folder))
    kept = [int(text.split()[0]) for text in texts(folder)]
    assert kept == [*range(kept[0], 40)]
    assert kept[0] > 0


def test_rotated_files_are_removed_when_they_are_too_old(writer: Make, tmp_path: Path) -> None:
    logs = writer(keep=100)
    out(logs, b"old\n")
    (name,) = logs.rotate()
    out(logs, b"new\n")
    path = tmp_path / "logs" / name
    wait_until(path.exists)
    assert logs.prune() == 0
    size = path.stat().st_size
    os.utime(path, (time.time() - 200,) * 2)
    assert logs.prune() == size
    assert texts(tmp_path / "logs") == ["new"]


def test_the_next_start_finishes_what_a_kill_has_interrupted(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    with closed(LogWriter(folder, LogSettings(), str)) as logs:
        out(logs, b"one\n")
        out(logs, b"two\n")
    data = (folder / "a.log").read_bytes()
    one, two = data.splitlines(keepends=True)
    # A rotated file that is not compressed, one that is and was not removed, a half compressed one.
    (folder / "a.log.20260101T000000-000007").write_bytes(one)
    (folder / "a.log.20260101T000000-000006").write_bytes(one)
    (folder / "a.log.20260101T000000-000006.gz").write_bytes(gzip.compress(one))
    (folder / "a.log.20260101T000000-000007.gz.tmp").write_bytes(gzip.compress(one)[:10])
    (folder / "a.log").write_bytes(two + two[:20])  # and a line that was cut in two
    with closed(LogWriter(folder, LogSettings(keep=None), str)) as logs:
        out(logs, b"three\n")
        (name,) = logs.rotate()
        assert name.endswith("-000008.gz")
        wait_until(lambda: not unpacked(folder))
        found = lines(folder)
    assert [line.get("lost", line["text"]) for line in found] == ["one", "one", "two", 20, "three"]
    assert len(list(folder.iterdir())) == 3


# ---- a disk that takes nothing


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes, as on a full disk; the number is an `EFBIG`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_lines_wait_and_what_is_lost_is_counted(
    writer: Make, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procorch.daemon.logs.current_file.PENDING", 20_000)
    logs = writer()
    wrote = 0
    with caplog.at_level(logging.INFO, "procorch"):
        with small_files(10_000):
            for number in range(1000):
                line = b"line %04d\n" % number
                wrote += len(line)
                out(logs, line)
            assert "cannot be written: File too large" in caplog.text
            full = lines(tmp_path / "logs")  # whole lines
            assert full
        wait_until(lambda: "is written again" in caplog.text)
        out(logs, b"after\n")
    assert len([it for it in caplog.records if it.levelno == logging.WARNING]) == 1
    found = lines(tmp_path / "logs")
    (lost,) = [line["lost"] for line in found if "lost" in line]
    kept = [line["text"] for line in found if line["text"].startswith("line")]
    assert kept == [f"line {number:04}" for number in range(len(kept))]
    assert len(kept) > len(full)
    assert 10 * len(kept) + lost == wrote
    assert [line["text"] for line in found[len(kept) + 1 :]] == ["after"]


def test_a_short_full_disk_loses_nothing(writer: Make, tmp_path: Path) -> None:
    logs = writer()
    with small_files(10_000):
        for number in range(200):
            out(logs, b"line %04d\n" % number)
    wait_until(lambda: len(texts(tmp_path / "logs")) == 200)
    assert texts(tmp_path / "logs") == [f"line {number:04}" for number in range(200)]


# ---- standard output


def test_the_foreground_has_whole_lines_with_the_name_of_the_agent(
    writer: Make, capfd: Any
) -> None:
    logs = writer(echo="text")
    out(logs, b"to be\nor ", "solver")
    logs.write("other", 3, 1, None, "stderr", b"to arms\n")
    out(logs, b"not\n", "solver")
    logs.write("daemon", 0, 0, None, "stderr", b"info: ready\n")
    logs.close()
    assert capfd.readouterr().out == (
        "solver/0 | to be\nother/3 | to arms\nsolver/0 | or not\ndaemon | info: ready\n"
    )


def test_the_foreground_can_have_json(writer: Make, capfd: Any) -> None:
    logs = writer(echo="json")
    out(logs, b"line\n")
    logs.close()
    assert json.loads(capfd.readouterr().out)["text"] == "line"


def test_a_terminal_that_takes_nothing_costs_the_log_files_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.pipe()
    monkeypatch.setattr("procorch.daemon.logs.console.STANDARD_OUTPUT", theirs)
    logs = LogWriter(tmp_path / "logs", LogSettings(), str, echo="text")
    line = b"." * 999 + b"\n"
    seen = bytearray()
    try:
        for _ in range(60):
            out(logs, line * 50)
        assert len(texts(tmp_path / "logs")) == 3000
    finally:
        reader = threading.Thread(target=_read_all, args=(ours, seen))
        reader.start()
        logs.close()
        os.close(theirs)
        reader.join(MOST)
        os.close(ours)
    shown = seen.decode().splitlines()
    assert any("bytes of output are missing here" in it for it in shown)
    assert {it for it in shown if not it.startswith("[procorch")} == {"a/0 | " + "." * 999}


def _read_all(fd: int, seen: bytearray) -> None:
    while data := os.read(fd, 65536):
        seen += data


@contextmanager
def closed(logs: LogWriter) -> Iterator[LogWriter]:
    try:
        yield logs
    finally:
        logs.close()


def unpacked(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.log.*") if path.suffix != ".gz"]
