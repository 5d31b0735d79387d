"""Records a command in a terminal, as an SVG that plays.

``python docs/record_demo.py docs/_static/demo.svg procorch demo`` runs the command in a terminal of
its own, keeps what the screen shows as time passes, and draws each change. The picture needs no
script and no other file. Where the reader wants no motion, it shows the last screen.
"""

from __future__ import annotations

import os
import pty
import select
import shlex
import struct
import sys
import termios
import time
from fcntl import ioctl
from html import escape
from itertools import groupby
from pathlib import Path

import pyte

COLUMNS, ROWS = 92, 14
STEP = 0.15
"""Seconds between two pictures, at least."""
HOLD = 8.0
"""Seconds that the last picture stays before it begins again."""
WIDE, HIGH, EDGE = 8.4, 19.0, 16.0
COLOURS = {
    "default": "#d7dae0", "black": "#5c6370", "red": "#ff7b85", "green": "#98c379",
    "brown": "#e5c07b", "yellow": "#e5c07b", "blue": "#61afef", "magenta": "#c678dd",
    "cyan": "#56b6c2", "white": "#ffffff",
}  # fmt: skip
Line = tuple[tuple[str, str, bool], ...]
"""Pieces of a line: their text, their colour, and whether they are bold."""


def run(command: list[str]) -> list[tuple[float, list[Line]]]:
    """Run a command in a terminal: the screens, each with the second from which it is shown."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"\x1b[32m$\x1b[0m {shlex.join(command)}\r\n".encode())
    frames = [(0.0, look(screen))]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES=str(ROWS))
        os.execvp(command[0], command)
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    began = time.monotonic()
    while True:
        ready, _, _ = select.select([terminal], [], [], STEP)
        try:
            data = os.read(terminal, 1 << 16) if ready else b""
        except OSError:  # the command has ended
            break
        stream.feed(data)
        now, shown = time.monotonic() - began, look(screen)
        if shown != frames[-1][1] and now - frames[-1][0] >= STEP:
            frames.append((now, shown))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        sys.exit(f"{shlex.join(command)} ended with {code}")
    return [*frames, (time.monotonic() - began, look(screen))]


def look(screen: pyte.Screen) -> list[Line]:
    """What the screen shows, line by line."""
    lines = []
    for row in range(ROWS):
        cells = [screen.buffer[row][column] for column in range(COLUMNS)]
        pieces = groupby(cells, key=lambda cell: (cell.fg, cell.bold))
        lines.append(tuple(("".join(c.data for c in each), *style) for style, each in pieces))
    return lines


def draw(frames: list[tuple[float, list[Line]]]) -> str:
    """The SVG."""
    end = frames[-1][0] + HOLD
    wide, high = COLUMNS * WIDE + 2 * EDGE, ROWS * HIGH + 2 * EDGE
    rules, groups = [], []
    for number, (begin, lines) in enumerate(frames):
        last = number == len(frames) - 1
        until = 100.0 if last else 100 * frames[number + 1][0] / end
        first = 100 * begin / end
        shown = f"{first:.2f}%,{until - 0.01:.2f}%{{visibility:visible}}"
        rules.append(f"@keyframes f{number}{{0%,100%{{visibility:hidden}}{shown}}}")
        rules.append(f"#f{number}{{animation:f{number} {end:.1f}s step-end infinite}}")
        texts = "".join(text(row, line) for row, line in enumerate(lines))
        groups.append(f'<g id="f{number}" class="{"last" if last else "frame"}">{texts}</g>')
    still = "g{animation:none!important}.frame{display:none}.last{visibility:visible!important}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high:.0f}" '
        f'width="{wide:.0f}" height="{high:.0f}" role="img">'
        "<title>A recording of the command in a terminal</title><style>"
        "g{visibility:hidden}text{font:14px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',"
        f"monospace;white-space:pre;fill:{COLOURS['default']}}}{''.join(rules)}"
        f"@media(prefers-reduced-motion:reduce){{{still}}}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#1e2127"/>{"".join(groups)}</svg>\n'
    )


def text(row: int, line: Line) -> str:
    """One line of a screen, or nothing where it is empty."""
    column, spans = 0, []
    for piece, colour, bold in line:
        if piece.strip():
            skipped = len(piece) - len(piece.lstrip())
            x = EDGE + (column + skipped) * WIDE
            fill = COLOURS.get(colour, f"#{colour}")
            style = f' fill="{fill}"' if colour != "default" else ""
            style += ' font-weight="bold"' if bold else ""
            words = piece.strip()
            length = f'textLength="{len(words) * WIDE:.1f}" lengthAdjust="spacingAndGlyphs"'
            spans.append(f'<tspan x="{x:.1f}" {length}{style}>{escape(words)}</tspan>')
        column += len(piece)
    y = EDGE + (row + 0.75) * HIGH
    return f'<text y="{y:.1f}" xml:space="preserve">{"".join(spans)}</text>' if spans else ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(run(sys.argv[2:])), encoding="utf-8")
