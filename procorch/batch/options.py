"""How the items of a batch are run, and one of them on its way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from procorch.batch.halt import Halt
from procorch.batch.items import SourceItem
from procorch.errors import AgentCrashed

if TYPE_CHECKING:  # `procorch export` reads journals without what runs agents
    from procorch.api.handle import ReplyFuture
    from procorch.supervision.throttle import Throttle


@dataclass(frozen=True, slots=True)
class Terms:
    """How the items are run.

    Args:
        timeout: seconds for one attempt, from the moment a worker gets it.
        retries: further attempts at an item that failed and may do better.
        allowed_failures: workers that an item may kill; one more and it is poison.
        retry_on: reasons tried again whatever the error says of itself.
        throttle: what becomes of an item whose service asks for a pause; None: it has failed.
        keep_order: hand items out in the order of the input.
        retry_failed: run what has failed in earlier runs, and what is damaged, again.
        accept_changes: run items again whose input has changed.
        unmoved: the input is known to be the same as in the last run, byte for byte.
        skip_known: do not hand out the items of earlier runs.
    """

    timeout: float | None = None
    retries: int = 0
    allowed_failures: int = 2
    retry_on: frozenset[str] = frozenset()
    throttle: Throttle | None = None
    keep_order: bool = False
    halt: Halt | None = None
    retry_failed: bool = False
    accept_changes: bool = False
    unmoved: bool = False
    skip_known: bool = False


@dataclass(slots=True, eq=False)
class Flight:
    """One item on its way.

    Args:
        turn: its place in the order of reading.
        number: of the attempt under way, earlier runs included.
        tries: attempts in this run of the item, without those that were ``throttled``.
    """

    item: SourceItem
    digest: bytes
    turn: int
    number: int = 0
    tries: int = 0
    throttled: int = 0
    deaths: list[AgentCrashed] = field(default_factory=list)
    reply: ReplyFuture | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A worker of a batch at this moment.

    Args:
        item: id of the item that it has; None where it has none.
        seconds: since it was first seen with it.
        rss: resident bytes of its process.
    """

    item: str | None
    seconds: float
    pid: int | None
    state: str
    rss: int
