"""Code is found by its structure, in one definition, in exactly one place."""

from __future__ import annotations

import pytest

from tests.mutants.structure import Outdated, replace

SOURCE = '''
LIMIT = 3


class Ledger:
    """What is owed."""

    limit = LIMIT

    def take(self, amount):
        """Take it."""
        if amount > self.limit:  # too much
            raise ValueError
        elif amount == 0:
            return 0
        self.owed += amount
        self.seen()
        return amount

    def give(self, amount):
        self.seen()

        def later():
            """Not now."""
            self.seen()
            amount + 1

        return later

    @property
    def size(self):
        return len(self.items)

    @size.setter
    def size(self, value):
        self.items = value
'''


def line_of(changed: str, start: str) -> str:
    return next(line.strip() for line in changed.splitlines() if line.strip().startswith(start))


def test_an_expression_is_found_in_any_layout() -> None:
    changed = replace(SOURCE, "Ledger.take", "(amount\n >   self . limit)", "False")
    assert "if False:" in changed


def test_statements_are_found_in_any_layout_and_without_their_comments() -> None:
    old = """
        self.owed += (
            amount  # all of it
        )
        self.seen()
    """
    changed = replace(SOURCE, "Ledger.take", old, "self.owed = 0")
    assert "self.owed = 0\n        return amount" in changed


def test_docstrings_make_no_difference_and_stay() -> None:
    changed = replace(SOURCE, "Ledger.give", "def later():\n    self.seen()\n    amount + 1", "")
    assert "later():" not in changed
    assert "Take it." in changed


def test_an_elif_is_an_if_of_its_own() -> None:
    changed = replace(SOURCE, "Ledger.take", "if amount == 0:\n    return 0", "")
    assert "elif" not in changed


def test_a_block_without_statements_has_a_pass() -> None:
    assert "limit:\n            pass" in replace(SOURCE, "Ledger.take", "raise ValueError", "")


@pytest.mark.parametrize(
    ("where", "old", "start"),
    [
        ("", "3", "LIMIT = 4"),
        ("Ledger", "LIMIT", "limit = 4"),
        ("Ledger.give.later", "1", "amount + 4"),
        ("Ledger.size", "value", "self.items = 4"),
        ("Ledger.size", "len(self.items)", "return 4"),
    ],
)
def test_a_definition_has_a_qualified_name(where: str, old: str, start: str) -> None:
    assert line_of(replace(SOURCE, where, old, "4"), start)


@pytest.mark.parametrize(
    ("where", "old", "complaint"),
    [
        ("Ledger.pay", "amount", "Ledger.pay is not defined"),
        ("later", "amount", "later is not defined"),
        ("Ledger.take", "self.given", "0 times in Ledger.take"),
        ("Ledger.take", "amount", "4 times in Ledger.take"),
        ("Ledger", "self.seen()", "0 times in Ledger"),
        ("Ledger.give", "1", "0 times in Ledger.give"),
        ("", "self", "0 times in the module's own level"),
        ("Ledger.take", "# nothing", "is empty"),
    ],
)
def test_what_is_not_there_exactly_once_is_an_error(where: str, old: str, complaint: str) -> None:
    with pytest.raises(Outdated, match=complaint):
        replace(SOURCE, where, old, "4")
