"""Warnings about the input of a batch, as a terminal shows them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TextIO

from procorch.cli import streams


@contextlib.contextmanager
def told_warnings() -> Iterator[None]:
    """Meanwhile each is one line on standard error, without a place in our code."""
    from procorch.batch.errors import BatchInputWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", BatchInputWarning)
        others = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], filename: str, lineno: int,
            file: TextIO | None = None, line: str | None = None,
        ) -> None:  # fmt: skip
            if issubclass(category, BatchInputWarning):
                streams.note(f"procorch: warning: {message}")
            else:
                others(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
