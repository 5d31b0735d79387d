"""Which item of a chunk that failed is to blame, and gets the error.

A chunk is answered up to its first failure (``worker.chunk``), so the item is known exactly:

* After an error it is the first item without a result: the results before it were sent first.
* After a death it is the last item that was begun, which the status page of the worker tells. The
  results of items before it may have been lost with the worker; those items are done again.
* If every item that was begun has a result, the worker died between two items, and no item is to
  blame.

All items that follow are sent again.
"""

from __future__ import annotations

from procorch.errors import AgentCrashed, AgentError

MAX_BLAMELESS_DEATHS = 3
"""Workers that may die between two items of a chunk before the next item gets the error."""


def blamed_item(
    error: AgentError, *, answered: int, begun: int, sent: int, deaths: int
) -> int | None:
    """The index of the item that gets the error.

    Args:
        error: why the chunk failed. For a death, ``may_have_executed`` is set.
        answered: how many items have a result.
        begun: how many items the worker had begun when it died.
        sent: how many items the chunk has.
        deaths: how many workers have died with these items before, and no item was to blame.

    Returns:
        None if no item is to blame; the items without a result are then sent again.
    """
    if not isinstance(error, AgentCrashed):
        return answered
    if begun <= answered and (answered == sent or deaths < MAX_BLAMELESS_DEATHS):
        return None
    error.may_have_executed = begun > answered
    return begun - 1 if begun > answered else answered
