"""A deliberate breakage of procorch, with the tests that must fail for it."""

from __future__ import annotations

from typing import NamedTuple

from tests.mutants.structure import Outdated, replace


class Mutant(NamedTuple):
    """A breakage of code, which is found by its structure.

    Args:
        name: what is broken.
        file: below ``procorch/``.
        where: the qualified name of the function or class, such as ``Ledger.take``; ``""`` is the
            module's own level.
        old: an expression or statements that occur in it exactly once. Layout, comments and
            docstrings make no difference.
        new: what stands there instead; ``""`` takes statements out.
        tests: node ids, each of which must fail.
    """

    name: str
    file: str
    where: str
    old: str
    new: str
    tests: tuple[str, ...]

    def broken(self, source: str) -> str:
        """The module with the breakage in it; ``Outdated`` if there is not one place for it."""
        return replace(source, self.where, self.old, self.new)


class TextMutant(NamedTuple):
    """A breakage of what has no structure of its own in Python, such as SQL in a string.

    Args:
        name: what is broken.
        file: below ``procorch/``.
        old: text that occurs in it exactly once.
        new: text that stands there instead.
        tests: node ids, each of which must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def broken(self, source: str) -> str:
        """The module with the breakage in it; ``Outdated`` if there is not one place for it."""
        if (times := source.count(self.old)) != 1:
            raise Outdated(f"its text occurs {times} times")
        return source.replace(self.old, self.new)


AnyMutant = Mutant | TextMutant
