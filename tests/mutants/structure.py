"""Replace one piece of a module that is found by its structure, not by its text.

Layout, comments and docstrings make no difference. A piece is an expression or a run of
statements, and it is looked for in one definition only.
"""

from __future__ import annotations

import ast
import copy
import textwrap
from collections.abc import Iterator

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Place = tuple[ast.AST, str, int]  # a node, its field, and where the piece begins if that is a list


class Outdated(Exception):
    """The code to be replaced does not occur, or not exactly once."""


def replace(source: str, where: str, old: str, new: str) -> str:
    """Put ``new`` in the one place of ``old``.

    Args:
        source: a module.
        where: the qualified name of a function or class, such as ``Ledger.take``; ``""`` is the
            module's own level. Functions and classes that are defined in it do not belong to it.
        old: an expression or one or more statements; indentation as a whole does not matter.
        new: what stands there instead: an expression for an expression, else statements or ``""``.

    Returns:
        The changed module, without its comments.

    Raises:
        Outdated: there is no such definition, or not exactly one place.
        SyntaxError: one of the texts is not Python.
    """
    tree = ast.parse(source)
    scopes = list(definitions(tree, where.split(".") if where else []))
    if not scopes:
        raise Outdated(f"{where} is not defined")
    before, after = statements(old), statements(new)
    if not before:
        raise Outdated("the code to be replaced is empty")
    expressions = expression(before), expression(after)
    within = where or "the module's own level"
    if expressions[0] is not None and expressions[1] is not None:
        node, field, at = the_only(list(find_expression(scopes, expressions[0])), within)
        value = getattr(node, field)
        if isinstance(value, list):
            value[at] = expressions[1]
        else:
            setattr(node, field, expressions[1])
    else:
        node, field, at = the_only(list(find_statements(scopes, before)), within)
        body = getattr(node, field)
        body[at : at + len(before)] = after
        if not body and field == "body":
            body.append(ast.Pass())
    return ast.unparse(tree) + "\n"


def the_only(places: list[Place], within: str) -> Place:
    """The one place; an error where there is none or more than one."""
    if len(places) != 1:
        raise Outdated(f"its code occurs {len(places)} times in {within}")
    return places[0]


def statements(code: str) -> list[ast.stmt]:
    """The statements of a piece of code, which may be indented."""
    return ast.parse(textwrap.dedent(code)).body


def expression(body: list[ast.stmt]) -> ast.expr | None:
    """The expression that makes up the whole of a piece of code."""
    return body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else None


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Whatever is in a definition, but not what is in definitions within it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, Definition):
            yield from own_nodes(child)


def definitions(scope: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    """Definitions of a qualified name; a property and its setter have the same."""
    if not names:
        yield scope
        return
    for node in own_nodes(scope):
        if isinstance(node, Definition) and node.name == names[0]:
            yield from definitions(node, names[1:])


def fields(scopes: list[ast.AST]) -> Iterator[tuple[ast.AST, str, object]]:
    """The fields of all nodes that belong to one of the definitions."""
    for scope in scopes:
        for node in (scope, *own_nodes(scope)):
            if node is scope or not isinstance(node, Definition):
                for field, value in ast.iter_fields(node):
                    yield node, field, value


def find_expression(scopes: list[ast.AST], wanted: ast.expr) -> Iterator[Place]:
    """Where the expression occurs."""
    form = structure(wanted)
    for node, field, value in fields(scopes):
        for at, each in enumerate(value if isinstance(value, list) else [value]):
            if type(each) is type(wanted) and structure(each) == form:
                yield node, field, at


def find_statements(scopes: list[ast.AST], wanted: list[ast.stmt]) -> Iterator[Place]:
    """Where these statements occur one after the other."""
    forms = [structure(statement) for statement in wanted]
    for node, field, value in fields(scopes):
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            found = [structure(statement) for statement in value]
            for at in range(len(found) - len(forms) + 1):
                if found[at : at + len(forms)] == forms:
                    yield node, field, at


def structure(node: ast.AST) -> str:
    """A text that is the same for code that differs in layout, comments and docstrings only."""
    bare = copy.deepcopy(node) if isinstance(node, ast.stmt) else node
    for each in ast.walk(bare):
        if isinstance(each, Definition) and ast.get_docstring(each, clean=False) is not None:
            del each.body[0]
    return ast.dump(bare)
