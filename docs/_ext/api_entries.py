"""Makes the entries of the reference: a block ``{api}`` of a page names public names.

Each name becomes an entry made from its docstring, with a table of all of them in front. The
version since which a name exists is in ``since.toml``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import tomllib
import types
import typing
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

SINCE_FILE = Path(__file__).parents[1] / "reference" / "api" / "since.toml"
BLOCK = re.compile(r"^```\{api\} (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE = re.compile(r"\bdocs/([\w/-]+)\.md\b")
"""A page that a docstring names."""
_OTHERS = "Exception, Future, Executor, Struct, Generic, Protocol, Enum, dict, object"
"""Classes of other packages, whose methods are documented there."""
_RECORD = "A record: making one raises `TypeError` for arguments that it does not have."


def versions() -> dict[str, str]:
    """The version since which each public name exists."""
    return tomllib.loads(SINCE_FILE.read_text(encoding="utf-8"))


def is_record(thing: Any) -> bool:
    """Whether this is a class whose constructor does nothing but keep its arguments."""
    if not inspect.isclass(thing) or issubclass(thing, BaseException):
        return False
    kept = dataclasses.is_dataclass(thing) or hasattr(thing, "__struct_fields__")
    return kept and "Raises:" not in (thing.__doc__ or "")


def entries(module: str, names: list[str]) -> str:
    """The entries of these names of a module, as reStructuredText."""
    home = importlib.import_module(module)
    lines = [f".. currentmodule:: {module}", "", ".. autosummary::", "   :nosignatures:", ""]
    lines += [f"   {name}" for name in names if callable(getattr(home, name))]
    for name in names:
        lines += ["", *_entry(name, getattr(home, name)), ""]
    return "\n".join(lines)


def _entry(name: str, thing: Any) -> list[str]:
    if inspect.isfunction(thing):
        return [f".. autofunction:: {name}"]
    if not inspect.isclass(thing):
        return [f".. autodata:: {name}", "   :no-value:"]
    if issubclass(thing, BaseException):
        return [f".. autoexception:: {name}", "   :members:", "   :show-inheritance:"]
    return [f".. autoclass:: {name}", "   :members:", f"   :inherited-members: {_OTHERS}"]


def expand(app: Sphinx, page: str, source: list[str]) -> None:
    """Put entries in the place of the blocks ``{api}`` of a page."""

    def made(found: re.Match[str]) -> str:
        return f"```{{eval-rst}}\n{entries(found[1], found[2].split())}\n```"

    source[0] = BLOCK.sub(made, source[0])


def _rejoin(lines: list[str]) -> None:
    """Put sentences together again of which napoleon took the words before a colon for a type."""
    for mark, words in ((":rtype: ", ":returns: "), (":type: ", "")):
        for at, line in enumerate(lines):
            if line.startswith(mark):
                said = next(each for each, text in enumerate(lines) if text.startswith(words))
                lines[said] = f"{words}{line[len(mark) :]}: {lines[said][len(words) :]}"
                del lines[at]
                break


def complete(
    app: Sphinx, what: str, name: str, thing: Any, options: object, lines: list[str]
) -> None:
    """Add to the docstring of a public name what can be told from its class and from the table."""
    if isinstance(thing, types.UnionType):
        named = ", ".join(f"`{each.__name__}`" for each in typing.get_args(thing))
        lines[:] = [f"One of {named}."]
    _rejoin(lines)
    lines[:] = [PAGE.sub(r":doc:`/\1`", line) for line in lines]
    public = name.rpartition(".")[2]
    if what not in {"class", "exception", "function", "data"} or public not in versions():
        return
    if is_record(thing):
        lines += ["", _RECORD]
    lines += ["", f".. versionadded:: {versions()[public]}"]


def signature(
    app: Sphinx, what: str, name: str, thing: Any, options: object, args: str | None, back: str
) -> tuple[str | None, str] | None:
    """The arguments of an error of an agent are its annotated attributes."""
    figures = getattr(thing, "_figures", None)
    if what != "exception" or not figures:
        return None
    named = ", ".join(f"{each}={getattr(thing, each, None)!r}" for each in sorted(figures))
    return f"(message='', *, {named})", back


def dashes(app: Sphinx, document: nodes.document, page: str) -> None:
    """Put a dash between an argument and what it means."""
    for text in list(document.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))


def setup(app: Sphinx) -> dict[str, bool]:
    """Have Sphinx call the functions above."""
    app.connect("source-read", expand)
    app.connect("autodoc-process-docstring", complete, priority=900)
    app.connect("autodoc-process-signature", signature)
    app.connect("doctree-resolved", dashes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
