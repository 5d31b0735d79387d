"""``procorch top``: the agents live."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from procorch.cli import streams
from procorch.cli.daemon import form, link
from procorch.cli.daemon.names import names_argument
from procorch.cli.verb import Verb

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from procorch.cli.daemon.keyboard import Keyboard
    from procorch.cli.daemon.top_model import Model, Order

_EACH = 1.0
"""Seconds between two looks."""
_LOG_LINES = 10


@click.command("top", cls=Verb)
@names_argument(required=False)
@link.folder_option
@link.answer_option
def command(names: tuple[str, ...], folder: Path | None, timeout: float) -> int:
    """Show the agents live, with keys to restart, stop and read logs.

    NAME is a name, a pattern or 'GROUP:*'; without any, it shows all. CPU is the share of a core
    since the last look, a second ago.

    Keys: q ends it; s sorts by CPU, memory, restarts or name; the arrows select an agent; r
    restarts it and x stops it, after a y; l shows the end of its log.

    Where standard output is no terminal, it prints the status once.
    """
    from procorch.cli import screen
    from procorch.cli.daemon import status_screen

    console = screen.stdout()
    if not (screen.may_move(console, data_flows=False) and _is_terminal()):
        with link.linked(folder, timeout) as daemon:
            streams.emit("\n".join(status_screen.plain(daemon.status(*names))))
        return 0
    _Screen(console, names, folder, timeout).run()
    return 0


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


class _Screen:
    def __init__(
        self, console: Console, names: tuple[str, ...], folder: Path | None, timeout: float
    ) -> None:
        from procorch.cli.daemon.top_model import Model

        self._console = console
        self._names = names
        self._folder = folder
        self._timeout = timeout
        self._model: Model = Model()
        self._daemon: dict[str, Any] = {}
        self._log: list[str] = []

    def run(self) -> None:
        """Show it until a person has had enough."""
        from rich.live import Live

        from procorch.cli.daemon.keyboard import keyboard

        self._look()  # without a daemon, the screen stays as it is
        live = Live(self._drawn(), console=self._console, screen=True, auto_refresh=False)
        with keyboard(sys.stdin.fileno()) as keys:
            try:
                live.start()
                self._follow(live, keys)
            finally:
                live.stop()  # also if a signal came while it was starting

    def _follow(self, live: Live, keys: Keyboard) -> None:
        model = self._model
        at = time.monotonic() + _EACH
        while not model.over:
            live.update(self._drawn(), refresh=True)
            for key in keys.keys(max(0.0, at - time.monotonic())):
                order = model.press(key)
                if order is not None:
                    self._carry_out(order)
                if key == "l":
                    self._read_log()
            if time.monotonic() >= at:
                self._look()
                at = time.monotonic() + _EACH

    def _look(self) -> None:
        with link.linked(self._folder, self._timeout) as daemon:
            status = daemon.status(*self._names)
        self._daemon = status["daemon"]
        self._model.take(status["agents"], time.monotonic())
        self._read_log()

    def _read_log(self) -> None:
        agent = self._model.agent
        if not self._model.shows_log or agent is None:
            return
        with link.linked(self._folder, self._timeout) as daemon:
            written = daemon.logs(agent, last=_LOG_LINES)
            self._log = [f"{each['instance']} | {form.visible(each['text'])}" for each in written]

    def _carry_out(self, order: Order) -> None:
        """On a thread of its own: it may take long, and the screen goes on."""
        self._model.message = f"{order.action} {order.agent} ..."

        def act() -> None:
            try:
                with link.linked(self._folder) as daemon:
                    does = daemon.restart if order.action == "restart" else daemon.stop
                    row = does(order.agent)[0]
                said = row["result"] if row["error"] is None else form.line_of(row["error"])
            except click.ClickException as error:
                said = form.line_of(error.message)
            self._model.message = f"{order.agent}: {said}"

        threading.Thread(target=act, name="procorch-top", daemon=True).start()

    def _drawn(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        from procorch.cli.daemon import status_screen
        from procorch.cli.daemon.status_rows import heading

        model, height = self._model, self._console.height
        log = [f"log of {model.agent}", *(self._log or ["empty"])] if model.shows_log else []
        room = max(1, height - 4 - len(log))  # beside heading, blank, head of the table, footer
        first = max(0, min(model.selected - room // 2, len(model.rows) - room))
        shown = model.rows[first : first + room]
        blank = [""] * max(0, room - len(shown))
        table = status_screen.table(
            shown, self._console.width, selected=model.selected - first,
            sorted_by=model.sorting, folds=False,
        )  # fmt: skip
        return Group(
            Text(heading(self._daemon), style="bold", no_wrap=True, overflow="ellipsis"),
            "",
            table,
            *blank,
            *(Text.from_ansi(line, no_wrap=True, overflow="ellipsis") for line in log),
            Text(model.footer(), style="reverse", no_wrap=True, overflow="ellipsis"),
        )
