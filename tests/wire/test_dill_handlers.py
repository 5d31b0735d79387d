"""The private names of dill that procorch uses are there, and a dill without them is refused."""

from __future__ import annotations

import re

import dill
import pytest

from procorch.wire.byvalue import dill_handlers, reducers
from tests.structure.graph import ROOT

PACKAGE = ROOT / "procorch"
PRIVATE = re.compile(r"\bdill\._|from dill\.?_|dill\.Pickler\.dispatch")


def test_only_one_module_uses_private_names_of_dill() -> None:
    paths = PACKAGE.glob("**/*.py")
    using = [path.name for path in paths if PRIVATE.search(path.read_text("utf-8"))]
    assert using == ["dill_handlers.py"]


def test_the_handlers_are_those_of_this_version() -> None:
    assert reducers.DISPATCH_ANYWHERE[property] is dill.Pickler.dispatch[property]
    assert dict in dill_handlers.standard_handlers()


def test_a_dill_without_a_handler_is_refused_with_its_version() -> None:
    with pytest.raises(ImportError, match=rf"fit dill {re.escape(dill.__version__)}: .*save_moons"):
        dill_handlers.handlers_named(frozenset({"save_moons"}), "none")


def test_a_dill_without_the_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(dill._dill, "MetaCatchingDict")
    with pytest.raises(ImportError, match=r"does not fit dill .*MetaCatchingDict"):
        dill_handlers.standard_handlers()
