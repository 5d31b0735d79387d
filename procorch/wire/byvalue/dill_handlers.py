"""The names that procorch takes from dill and that dill does not document.

No other module uses such names, so a version of dill that lacks one is noticed here, when this
module is imported. `tests/wire/test_dill_handlers.py` runs with the oldest and the newest version
that procorch allows (`tox -e lowest`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dill

Handler = Callable[[Any, Any], None]
_SINCE_0_4 = {"save_context"}
"""Handlers that older versions lack; pickle then refuses what they would save."""


def standard_handlers() -> dict[type, Handler]:
    """A new table with the handlers of the standard library's pickler, and none of dill's.

    Raises:
        ImportError: this version of dill has no such table.
    """
    try:
        table: dict[type, Handler] = dill._dill.MetaCatchingDict(dill._dill.pickle_dispatch_copy)
    except AttributeError as error:
        raise ImportError(f"procorch does not fit dill {dill.__version__}: {error}") from error
    return table


def handlers_named(names: frozenset[str], beginning: str) -> dict[type, Handler]:
    """The handlers of dill that have one of ``names``, or a name with this beginning.

    Raises:
        ImportError: this version of dill has no handler of one of the names.
    """
    found = {
        kind: save
        for kind, save in dill.Pickler.dispatch.items()
        if save.__name__ in names or save.__name__.startswith(beginning)
    }
    missing = names - _SINCE_0_4 - {save.__name__ for save in found.values()}
    if missing:
        raise ImportError(
            f"procorch does not fit dill {dill.__version__}: it has no {', '.join(sorted(missing))}"
        )
    return found
