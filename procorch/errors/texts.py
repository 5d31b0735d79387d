"""The wording of errors."""

from __future__ import annotations

from collections.abc import Callable, Collection

from procorch.errors.redaction import redact

_TEXT = 65_536
"""Characters kept of one text: an error has to fit into a frame."""


def signal_name(number: int) -> str:
    """The name of a signal: "SIGSEGV", "SIGRTMIN+3", or "signal 99" where it has none."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        low, high = getattr(signal, "SIGRTMIN", 0), getattr(signal, "SIGRTMAX", 0)
        return f"SIGRTMIN+{number - low}" if low < number < high else f"signal {number}"


def numbered(request: int | None) -> str:
    return "" if request is None else f" {request}"


def executed(begun: bool) -> str:
    return "" if begun else ", and was not executed"


def sized(size: int | None) -> str:
    if size is None:
        return "unknown"
    return f"{size} bytes" if size < 1 << 20 else f"{size / (1 << 20):.1f} MiB"


def original(exc_type: str, exc_str: str) -> str:
    """`: ValueError: boom`, on one line whatever the original's text looks like."""
    line = " ".join(exc_str.split())
    line = line if len(line) <= 300 else line[:299] + "\u2026"
    return "".join(f": {part}" for part in (exc_type.rpartition(".")[2], line) if part)


def failed_start(error: BaseException | None) -> str:
    """`: agent 'a' failed to start in phase factory: ValueError: boom` where a failed start is
    behind ``error``: for the lines that tell of the consequences."""
    for _ in range(8):  # a chain of causes may be a circle
        if error is None:
            break
        if getattr(error, "phase", None):
            line = " ".join(text_of(error).split())
            return f": {line if len(line) <= 300 else line[:299] + chr(0x2026)}"
        error = error.__cause__
    return ""


def did_you_mean(word: str, known: Collection[str], *, listed: str = "") -> str:
    """`; did you mean 'restart'?`: the one of ``known`` that is most like ``word``.

    Args:
        listed: where none is like it, all are listed after this word; without it, nothing is said.
    """
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; {listed}: {', '.join(known)}" if listed and known else ""


def qualified_name(cls: type) -> str:
    """Qualified name, as tracebacks write it: bare for builtins."""
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def text_of(error: BaseException, read: Callable[[BaseException], str] = str) -> str:
    """`str(error)` without credentials, or what can be said where its own `__str__` raises."""
    try:
        return redact(fit(read(error)))
    except KeyboardInterrupt:
        raise
    except BaseException as broken:
        what, why = qualified_name(type(error)), qualified_name(type(broken))
        return f"<{what}, whose text cannot be read: {why}>"


def fit(text: str) -> str:
    """`text` as exact str that UTF-8 can carry, its middle left out where it is very long."""
    text = str.__str__(text)
    if len(text) > _TEXT:
        half, left = _TEXT // 2, len(text) - _TEXT
        text = f"{text[:half]}\n[... {left} characters left out ...]\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()
