"""The tutorial of `docs/tutorials/first-daemon.md`, followed step by step in one folder.

As in `test_tutorial`, blocks whose info string names a file are saved under that name, and what
the commands of `console` blocks write is what the page shows. A pid of the page stands for the one
that was written in its place, also in later commands. A `py` block needs the daemon, so it is no
script of its own. At the end of it the fields of `docs/reference/daemon-commands.md` are compared
with what `--json` prints, while the daemon of the tutorial still runs.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import psutil
import pytest

import procorch
from procorch import DaemonClient
from tests.docs.test_blocks import LIMIT, PROCORCH, ROOT, parse, run

PAGE = ROOT / "docs" / "tutorials" / "first-daemon.md"
COMMANDS = ROOT / "docs" / "reference" / "daemon-commands.md"
PID = r"(?P<before>pid |process |greeter(?:/\d)? +)(?P<pid>\d{4,})"
"""Where a pid stands on the page."""
FIGURES = {
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}": r"[\d:. -]+",
    r"\d+(\.\d+)?s\b": r"[\d.]+(?:s|m\d\ds)",
    r"\d+M\b": r"\d+M",
    r"request \d\d+": r"request \d+",
    r"procorch \d\.\d\.\d": r"procorch [\w.]+",
}


class Tutorial:
    """One walk through the page.

    Args:
        folder: the folder that the reader has made.
        logs: a folder for what commands write.
    """

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self.logs = logs
        self.pids: dict[str, str] = {}

    def do(self, line: str) -> str:
        """Run a line in a shell, and return what it writes on both streams."""
        for shown, real in self.pids.items():
            line = re.sub(rf"\b{shown}\b", real, line)
        command = f"PATH={shlex.quote(str(PROCORCH.parent))}:$PATH; exec 2>&1; {line}"
        return run(["/bin/sh", "-c", command], self.folder, self.logs)[1]

    def follow(self, line: str, shown: str) -> None:
        """Run a line and compare what it writes with the page."""
        written = self.do(line)
        wanted = "".join(map(self._pattern, shown.rstrip().splitlines()))
        found = re.fullmatch(wanted, _columns(written.rstrip() + "\n") if written else "")
        assert found, f"$ {line}\n{written}\n--- the page has\n{shown}"
        self.pids |= {name[1:]: pid for name, pid in found.groupdict().items() if pid}

    def _pattern(self, line: str) -> str:
        """A line of the page as a regular expression; new pids are groups of it."""
        if line.strip() == "...":
            return r"(?:.*\n)*?"
        parts, end = [], 0
        line = _columns(line)
        kinds = [r"\.\.\.", PID, *FIGURES]
        for found in re.finditer("|".join(f"(?:{each})" for each in kinds), line):
            parts.append(re.escape(line[end : found.start()]))
            parts.append(self._figure(found))
            end = found.end()
        return "".join([*parts, re.escape(line[end:]), r"\n"])

    def _figure(self, found: re.Match[str]) -> str:
        if found[0] == "...":
            return ".*"
        if found["pid"]:
            known = self.pids.get(found["pid"])
            pid = re.escape(known) if known else rf"(?P<p{found['pid']}>\d+)"
            if known is None:
                self.pids[found["pid"]] = rf"(?P=p{found['pid']})"
            elif known.startswith("("):
                pid = known
            return re.escape(found["before"]) + pid
        return next(real for each, real in FIGURES.items() if re.fullmatch(each, found[0]))


def _columns(text: str) -> str:
    """Text whose columns are as wide as their figures: one blank between words."""
    return re.sub(r"[^\S\n]+", " ", re.sub(r"[^\S\n]+$", "", text, flags=re.MULTILINE))


@pytest.mark.timeout(2 * LIMIT)
def test_the_tutorial_of_the_daemon_does_what_the_page_shows(tmp_path: Path) -> None:
    folder, logs = tmp_path / "greetings", tmp_path / "logs"
    folder.mkdir()
    logs.mkdir()
    tutorial = Tutorial(folder, logs)
    done = []
    try:
        for token in parse(PAGE):
            if token.type != "fence":
                continue
            kind, _, name = token.info.partition(" ")
            if name:
                (folder / name).write_text(token.content, encoding="utf-8")
            if kind != "console":
                continue
            for step in re.split(r"^\$ ", token.content, flags=re.MULTILINE)[1:]:
                line, _, shown = step.partition("\n")
                if line == "procorch down":
                    with procorch.connect(folder) as daemon:
                        compare_json_with_its_page(daemon)
                tutorial.follow(line, shown)
                done.append(line)
    finally:
        if "procorch down" not in done:
            tutorial.do("procorch down --timeout 0s")
    assert {"procorch down", "procorch rollback"} <= set(done)
    assert [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(folder)] == []


def compare_json_with_its_page(daemon: DaemonClient) -> None:
    """The examples of the page have the fields that the daemon of the tutorial tells.

    ``--json`` prints what the client gets, and ``schema``.
    """
    status, described = daemon.status(), daemon.describe("greeter")
    crash = next(each for each in described["exits"] if each["signal"])
    same_fields(example("status"), {"schema": 1, **status})
    rest = example("describe")
    assert {*rest, *status["agents"][0]} == described.keys()
    same_fields(rest["exits"][0], crash)
    assert rest["config"].keys() <= described["config"].keys()
    started = {"schema": 1, "agents": daemon.start("greeter")}
    same_fields(example("start, stop, restart, scale, pause, resume, reset"), started)
    reload = daemon.reload(dry_run=True)
    same_fields(example("reload"), {"schema": 1, **reload})
    sent = daemon.send("greeter", "hello")
    assert example("send").keys() == {"schema", *sent}
    assert example("send")["metrics"].keys() <= sent["metrics"].keys()
    assert example("logs").keys() == {"schema", *next(iter(daemon.logs("greeter", last=1)))}
    assert example("events").keys() <= {"schema", *next(iter(daemon.events("greeter")))}


def example(command: str) -> Any:
    """The JSON that the page shows for a command."""
    heading = ""
    for token in parse(COMMANDS):
        if token.type == "inline" and token.content.endswith("--json"):
            heading = token.content
        elif token.type == "fence" and token.info == "json" and heading == f"{command} --json":
            return json.loads(token.content)
    raise AssertionError(f"{COMMANDS.name} shows no JSON of {command}")


def same_fields(example: Any, found: Any) -> None:
    """Both have the same fields on all levels, of lists in their first element."""
    if isinstance(example, dict):
        assert example.keys() == found.keys()
        for name, value in example.items():
            same_fields(value, found[name])
    elif isinstance(example, list) and example and found:
        same_fields(example[0], found[0])
