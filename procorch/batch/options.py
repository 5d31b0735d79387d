"""How the items of a batch are run, and an item that is being run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import Struct, field

from procorch.batch.halt import Halt
from procorch.batch.records import SourceItem
from procorch.errors import AgentCrashed
from procorch.messages import Cost, Usage

if TYPE_CHECKING:  # `procorch export` reads journals without what runs agents
    from procorch.agents.apps import App
    from procorch.agents.scored import Scorer
    from procorch.futures.reply import ReplyFuture
    from procorch.supervision.budgets import Amount
    from procorch.supervision.throttle import Throttle


class BatchOptions(Struct, frozen=True):
    """How the items are run; see `run_batch`.

    Args:
        timeout: seconds for one attempt, from the moment a worker gets the item.
        retries: further attempts at an item that failed with a retryable error.
        allowed_failures: workers that an item may kill; one more and it is poison.
        retry_on: reasons that are tried again whether or not the error is retryable.
        throttle: how to handle a service that asks for a pause; None: the item has failed.
        budget: what the items may use of models; None: any amount.
        score: scores each output; None: nothing does.
        keep_order: hand items out in the order of the input.
        halt: when to end before all items are done.
        retry_failed: run again what failed in earlier runs, and what is damaged.
        accept_changes: run items again whose input has changed.
        input_unchanged: the input is known to be the same as in the last run, byte for byte.
        skip_known: do not hand out the items of earlier runs.
    """

    timeout: float | None = None
    retries: int = 0
    allowed_failures: int = 2
    retry_on: frozenset[str] = frozenset()
    throttle: Throttle | None = None
    budget: Amount | None = None
    score: Scorer | App | None = None
    keep_order: bool = False
    halt: Halt | None = None
    retry_failed: bool = False
    accept_changes: bool = False
    input_unchanged: bool = False
    skip_known: bool = False


class ActiveItem(Struct, eq=False):
    """An item from the moment it is admitted until its outcome is written.

    Args:
        digest: hash of its value.
        turn: its place in the order in which items were admitted.
        number: number of the current attempt, earlier runs included.
        tries: attempts at this item without those that were throttled.
        throttled: attempts after which a service asked for a pause.
        deaths: errors of the workers that died during an attempt.
        reply: the future of the current attempt.
        usage: tokens of a model that all attempts have used, in this run.
        money: what they have cost, in US dollars.
        scores: the scores of its output, by name.
    """

    item: SourceItem
    digest: bytes
    turn: int
    number: int = 0
    tries: int = 0
    throttled: int = 0
    deaths: list[AgentCrashed] = field(default_factory=list)
    reply: ReplyFuture | None = None
    usage: Usage = field(default_factory=Usage)
    money: Cost = field(default_factory=Cost)
    scores: Mapping[str, float] = field(default_factory=dict)

    def spend(self, usage: Usage, money: Cost) -> None:
        """An attempt has used so much of a model."""
        self.usage, self.money = self.usage + usage, self.money + money


@dataclass(frozen=True, slots=True)
class BatchWorker:
    """A worker of a batch at one moment.

    Args:
        item: id of the item that it works on; None: it has none.
        seconds: since it was first seen with the item.
        pid: process id; None: there is no process.
        state: as users see it, such as "BUSY" or "BACKOFF".
        rss: resident bytes of its process.
    """

    item: str | None
    seconds: float
    pid: int | None
    state: str
    rss: int
