"""Keys of a terminal, one by one and unseen, until the block is left."""

from __future__ import annotations

import codecs
import os
import re
import select
import termios
from collections.abc import Iterator
from contextlib import contextmanager

_KEY = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|.", re.DOTALL)
_LOCAL, _SPECIAL = 3, 6
"""Where `termios.tcgetattr` has the local modes, and the special characters."""


class Keyboard:
    """Reads keys.

    Args:
        fd: the descriptor of a terminal that passes on each key as it is pressed.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def keys(self, timeout: float) -> list[str]:
        """The keys that are pressed within ``timeout`` seconds, as soon as there are any: a
        character each, or an escape sequence. Empty: none. ``"q"``, if the terminal is gone."""
        ready, _, _ = select.select([self._fd], [], [], timeout)
        if not ready:
            return []
        data = os.read(self._fd, 1024)
        return _KEY.findall(self._decoder.decode(data)) if data else ["q"]


@contextmanager
def keyboard(fd: int) -> Iterator[Keyboard]:
    """Have a terminal pass on keys as they are pressed, and show none; as it was, afterwards.

    Ctrl-C still interrupts. Ctrl-Z does nothing: it would leave the terminal to the shell as it is.
    """
    before = termios.tcgetattr(fd)
    changed = termios.tcgetattr(fd)
    changed[_LOCAL] &= ~(termios.ICANON | termios.ECHO)
    characters = list(changed[_SPECIAL])
    characters[termios.VSUSP] = b"\0"
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    changed[_SPECIAL] = characters
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, changed)
        yield Keyboard(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)
