"""The list of mutants is up to date; `tox -e mutants` runs them."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.mutants import run
from tests.mutants.mutant import AnyMutant
from tests.mutants.rules import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_still_be_made_and_its_tests_exist(mutant: AnyMutant) -> None:
    assert run.outdated(mutant) == ""
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        code = (run.ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", code, re.MULTILINE), test


def test_no_two_mutants_have_one_name() -> None:
    names = Counter(mutant.name for mutant in MUTANTS)
    assert [name for name, times in names.items() if times > 1] == []
