"""What a terminal shows of a daemon: `top` with its keys, and the terminal it leaves; `logs`."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from procorch.cli.daemon.top_model import Model, Order
from tests.cli import fake_core
from tests.cli.conftest import LIMIT, environment
from tests.cli.fake_core import FakeCore

COMMAND = (
    sys.executable,
    "-c",
    "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from procorch.cli.main import main; sys.exit(main())",
)
UP, DOWN = "\x1b[A", "\x1b[B"


# ---- what it shows, without a terminal


def pressed(model: Model, keys: str | list[str]) -> list[Order]:
    return [order for key in keys if (order := model.press(key)) is not None]


@pytest.fixture
def model() -> Model:
    made = Model()
    made.take(fake_core.AGENTS, 100.0)
    return made


def shown(model: Model) -> list[tuple[str, int | None]]:
    return [(row.agent, row.slot) for row in model.rows]


def test_cpu_is_the_share_since_the_last_look(model: Model) -> None:
    assert {row.cpu for row in model.rows} == {0.0}, "nothing is known yet"
    busy = fake_core.instance(0, 4127, "BUSY", cpu=13.25)
    again = fake_core.instance(1, 4199, "READY", cpu=0.3, generation=4)
    model.take([fake_core.agent("solver", "BUSY", busy, again, size=2)], 101.5)
    assert [(row.slot, row.cpu) for row in model.rows] == [
        (None, 0.5), (0, 0.5), (1, 0.0),
    ], "the seconds of another process are not subtracted"  # fmt: skip
    assert "50%" in model.rows[0].cells


def test_rows_are_sorted_by_what_s_chooses(model: Model) -> None:
    tree = shown(model)
    assert tree[:4] == [("solver", None), ("solver", 0), ("solver", 1), ("critic", None)]
    pressed(model, "s")
    assert model.sorting == "CPU"
    pressed(model, "s")
    assert (model.sorting, shown(model)[0]) == ("MEMORY", ("solver", None))
    pressed(model, "s")
    assert (model.sorting, shown(model)[0]) == ("RESTARTS", ("index", None))
    pressed(model, "s")
    assert shown(model) == tree


def test_an_order_waits_for_a_yes(model: Model) -> None:
    pressed(model, [DOWN] * 4)
    assert model.agent == "index"
    assert pressed(model, "rn") == []
    assert pressed(model, "r") == []
    assert model.footer() == "restart index? y/n"
    assert pressed(model, "y") == [Order("restart", "index")]
    assert pressed(model, ["k", "x", "y"]) == [Order("stop", "critic")]
    assert not model.over
    pressed(model, "q")
    assert model.over


def test_the_selection_stays_with_its_agent(model: Model) -> None:
    pressed(model, [DOWN] * 5)
    assert model.agent == "lint"
    model.take(list(reversed(fake_core.AGENTS)), 101.0)
    assert model.agent == "lint"
    model.take(fake_core.AGENTS[:1], 102.0)
    assert model.agent == "solver", "it has gone"
    model.take([], 103.0)
    assert model.agent is None
    assert pressed(model, ["r", UP, DOWN]) == []


# ---- on a terminal


class Screen:
    def __init__(self, master: int, slave: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._master = master
        self._slave = slave
        self._text = ""

    def read_until(self, text: str) -> None:
        """Read until `text` has been shown since the last call."""
        while text not in self._text:
            self._text += os.read(self._master, 65536).decode()
        self._text = self._text.partition(text)[2]

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self._slave)


@contextmanager
def terminal(*arguments: str) -> Iterator[Screen]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave,
        env=environment({}), start_new_session=True,
    )  # fmt: skip
    try:
        yield Screen(master, slave, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


OPENED, CLOSED = "\x1b[?1049h", "\x1b[?1049l"


def test_agents_are_shown_restarted_and_left(daemon: FakeCore) -> None:
    with terminal("top") as screen:
        before = screen.modes()
        screen.read_until(OPENED)
        screen.read_until("BACKOFF 4/5")
        screen.type(DOWN * 4 + "r")
        screen.read_until("restart index? y/n")
        screen.type("y")
        screen.read_until("index: restarted")
        assert ("restarted", ["index"], None) in daemon.calls
        screen.type("l")
        screen.read_until("log of index")
        screen.read_until("no index")
        screen.type("q")
        screen.read_until(CLOSED)
        assert screen.process.wait(LIMIT) == 0
        assert screen.modes() == before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_the_terminal_is_restored_when_a_signal_ends_it(
    number: signal.Signals, code: int, daemon: FakeCore
) -> None:
    with terminal("top") as screen:
        before = screen.modes()
        screen.read_until("BACKOFF 4/5")
        screen.process.send_signal(number)
        screen.read_until(CLOSED)
        assert screen.process.wait(LIMIT) == code
        assert screen.modes() == before


def test_the_end_of_the_daemon_ends_it(daemon: FakeCore) -> None:
    with terminal("top") as screen:
        screen.read_until("BACKOFF 4/5")
        daemon.status = _gone  # type: ignore[method-assign,assignment]
        screen.read_until(CLOSED)
        screen.read_until("Error: it has ended")
        assert screen.process.wait(LIMIT) == 3


def _gone(names: object) -> None:
    from procorch.daemon.errors import NoDaemon

    raise NoDaemon("it has ended")


def test_without_a_daemon_the_screen_is_left_alone() -> None:
    with terminal("top") as screen:
        screen.read_until("Error: ")
        assert screen.process.wait(LIMIT) == 3
        assert not re.search(r"\x1b\[\?1049h", screen._text)


def test_output_of_agents_keeps_its_colours_and_moves_no_cursor(daemon: FakeCore) -> None:
    with terminal("logs") as screen:
        screen.read_until("\x1b[36msolver/0 | \x1b[0mthinking\r\n")
        screen.read_until("\x1b[32mindex/0  | \x1b[0m\x1b[31mno index\x1b[0m")
        screen.read_until("\\x07")
        assert screen.process.wait(LIMIT) == 0
