"""What version 0.1 has pickled keeps loading: journals, checkpoints and files of users have it."""

from __future__ import annotations

import base64
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest

import procorch

PICKLED: dict[str, str] = json.loads(Path(__file__).with_name("v01.json").read_text())


def load(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return pickle.loads(base64.b64decode(PICKLED[name]))


@pytest.mark.parametrize("name", PICKLED)
def test_an_object_that_version_0_1_has_pickled_loads(name: str) -> None:
    loaded = load(name)
    assert isinstance(loaded, getattr(procorch, name.split()[0]))
    assert repr(loaded)


def test_the_causes_of_an_error_that_version_0_1_has_pickled_load() -> None:
    first = load("AgentCrashed with causes").__cause__
    assert isinstance(first, procorch.AgentFailure)  # a ValueError that cannot be pickled
    assert str(first) == "agent failed: ValueError: boom"
    assert repr(first.__cause__) == "KeyError('bottom')"


@pytest.mark.parametrize("old", ["procorch.handle", "procorch.agent", "procorch.errors.plain"])
def test_a_module_under_its_old_name_is_found_with_a_warning(old: str) -> None:
    import importlib
    import sys

    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now procorch."):
        importlib.import_module(old)
