"""What an exception of other code says about itself, asked so that no answer of it can do harm.

Its attributes, its text and its notes are whatever its author has made of them: of the wrong type,
or properties that raise.
"""

from __future__ import annotations

from typing import Any

from procorch.errors.redaction import redact
from procorch.errors.texts import fit


def as_kind(annotation: str, value: Any) -> Any:
    """`value` as exactly the type annotated, or None where it is something else."""
    kind = annotation.removesuffix(" | None")
    if kind == "str" and isinstance(value, str):
        return fit(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind == "int" and isinstance(value, int) and -(2**63) <= value < 2**63:
            return int(value)
        if kind == "float" and abs(value) < 1e300:  # false for nan and inf, too
            return float(value)
    return None


def ask(error: BaseException, name: str) -> Any:
    """An attribute, or what it returns if it is a method; None where asking raises."""
    try:
        value = getattr(error, name, None)
        return value() if callable(value) else value
    except KeyboardInterrupt:
        raise
    except BaseException:  # of a method of the user's
        return None


def wait_of(error: BaseException) -> float | None:
    """Seconds that an exception wants to have waited (`retry_after`), in whatever form it has."""
    said = ask(error, "retry_after")
    if said is None:
        return None
    from procorch.errors.waits import seconds_to_wait  # heavy, and rarely needed

    seconds: float | None = as_kind("float", seconds_to_wait(said))
    return seconds


def notes_of(error: BaseException) -> list[str]:
    """The notes of an exception, as far as they are text; none where asking raises."""
    try:
        notes = getattr(error, "__notes__", ())
    except Exception:
        return []
    notes = notes if isinstance(notes, list | tuple) else ()
    return [redact(fit(note)) for note in notes if isinstance(note, str)]


def traceback_of(error: BaseException) -> str:
    """The formatted traceback from the user's code on, without procorch's calls above it."""
    import traceback

    start = error.__traceback__
    while start and str(start.tb_frame.f_globals.get("__name__")).startswith("procorch."):
        start = start.tb_next
    try:
        lines = traceback.format_exception(type(error), error, start or error.__traceback__)
    except KeyboardInterrupt:
        raise
    except BaseException:  # of its methods
        return ""
    return redact(fit("".join(lines)))
