"""Who imports whom in `procorch`, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = "procorch"


class Import(NamedTuple):
    """One module imports another; ``typing``: under ``if TYPE_CHECKING``, for annotations alone."""

    by: str
    of: str
    typing: bool


def modules() -> dict[str, Path]:
    """The file of each module."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> frozenset[Import]:
    """All imports between modules of the package, those inside functions included."""
    known = modules()
    found = set()
    for module, path in known.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for name, typing in _names(ast.parse(path.read_text(encoding="utf-8")), typing=False):
            of = resolve_name(name, package)
            while of not in known and "." in of:  # a name in a module
                of = of.rpartition(".")[0]
            if of in known and of != module:
                found.add(Import(module, of, typing))
    return frozenset(found)


def room(module: str) -> str:
    """The folder or file at the top of the package that a module belongs to."""
    return ".".join(module.split(".")[:2])


def _names(tree: ast.AST, *, typing: bool) -> Iterator[tuple[str, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name, typing) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (f"{node.module}." if node.module else "")
            yield from ((start + each.name, typing) for each in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for part in node.body:
                yield from _names(ast.Module([part], []), typing=True)
            for part in node.orelse:
                yield from _names(ast.Module([part], []), typing=typing)
        elif not isinstance(node, ast.expr):
            yield from _names(node, typing=typing)
