"""Completion for bash where a word has a colon in it, as every APP has.

bash splits words at colons before it asks, so that `app.py:factory` would arrive as three
arguments. What is asked here is the line itself.
"""

from __future__ import annotations

import os
from typing import ClassVar

from click.shell_completion import BashComplete, add_completion_class, split_arg_string


class Bash(BashComplete):
    """Completes the words as the shell will pass them."""

    source_template: ClassVar[str] = BashComplete.source_template.replace(
        "env COMP_WORDS=", 'env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDS='
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the last one, and that."""
        line = os.environ.get("COMP_LINE")
        if line is None:
            return super().get_completion_args()
        words = split_arg_string(line)[1:]
        return (words, "") if line.endswith(" ") or not words else (words[:-1], words[-1])


def register() -> None:
    """Have click use it."""
    add_completion_class(Bash)
