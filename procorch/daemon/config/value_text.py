"""Checked values as a person writes them in TOML, for the reference and for differences."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from procorch.daemon.config.tables import Key
from procorch.errors.redaction import redact

_DURATIONS = ((86400, "d"), (3600, "h"), (60, "m"))
_SIZES = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))
_LONGEST = 200
"""Characters of one value."""


def text_of(value: Any, key: Key) -> str:
    """The value of a key; what looks like a credential is ``***``."""
    if value is None:
        return "false" if key.optional else "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return _number(value, key.form)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(text_of(each, key) for each in value)}]"
    return table_text(fields_of(value), key)


def table_text(values: dict[str, Any], key: Key) -> str:
    """An inline table."""
    pairs = (f"{name} = {text_of(value, inner(key, name))}" for name, value in values.items())
    return f"{{ {', '.join(pairs)} }}" if values else "{}"


def inner(key: Key, name: str) -> Key:
    """The key of that name in the table that is the value of ``key``."""
    return key if key.fields is None else key.fields[name]


def fields_of(value: Any) -> dict[str, Any]:
    """What an inline table has: the fields of the object that was made of it, where they are not
    as usual."""
    if not dataclasses.is_dataclass(value):
        return dict(value)
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != field.default
    }


def _number(value: float, form: str) -> str:
    if form.startswith("bytes"):
        for size, unit in _SIZES:
            if value >= size and value % size == 0:
                return f'"{value // size}{unit}"'
    if form.startswith("seconds") and isinstance(value, float):
        for size, unit in _DURATIONS:
            if value >= size and value % size == 0:
                return f'"{value / size:.0f}{unit}"'
        return f'"{value:g}s"'
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quoted(text: str) -> str:
    text = redact(text)
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "\u2026"
    return json.dumps(text, ensure_ascii=False)
