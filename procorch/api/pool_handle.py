"""The handle that pools, executors and batches use for their workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from procorch.api import scaling
from procorch.api.handle import OrchestratedHandle, bulk
from procorch.api.info import AgentInfo, row_of
from procorch.errors import AgentError
from procorch.futures.chunk import ChunkReply, ItemList
from procorch.futures.reply import Reply
from procorch.runtime.mailbox import Mailbox
from procorch.supervision import events as ev
from procorch.supervision.throttle import Pause

_Reply = TypeVar("_Reply", bound=Reply[Any])


class PoolHandle(OrchestratedHandle):
    """A handle that also controls the queue of the agent, and how many instances are busy.

    Made by `AgentOrchestrator.spawn_pool`.
    """

    @property
    def mailbox(self) -> Mailbox:
        """The places in its queue."""
        return self._agent.mailbox

    def resize(self, count: int) -> None:
        """Like `scale`, but instances that finish their requests are not waited for.

        Raises:
            StartError: a new instance could not be started; nothing has changed.
        """
        self._monitor.must_be_ours()
        scaling.resize(self._monitor, self._agent, count)

    def live(self) -> tuple[AgentInfo, ...]:
        """A row for each instance that has not ended."""
        self._monitor.must_be_ours()
        return tuple(row_of(each, self._monitor) for each in self._agent.live())

    def must_be_ours(self) -> None:
        """Refuse callers in the child of a fork; all other methods call it.

        Raises:
            AgentStopped: this process is a fork of the one that started the agents.
        """
        self._monitor.must_be_ours()

    def may_wait(self) -> bool:
        """Whether this thread may wait for outcomes (executors)."""
        self._monitor.must_be_ours()
        return self._monitor.may_wait()

    def deliver_as(
        self,
        kind: type[_Reply],
        request: Any,
        *,
        timeout: float | str | None = None,
        retries: int | None = None,
        priority: int = 0,
    ) -> _Reply:
        """Like `deliver`, with a future of another class (executors)."""
        self._monitor.must_be_ours()
        return self._submitter.send(request, kind, bulk(timeout, retries, priority))

    def deliver_chunk(
        self,
        items: Sequence[Any] | ItemList,
        *,
        priority: int = 0,
        whole: bool = False,
    ) -> ChunkReply:
        """Send many small items as one request, without timeout and retries (pools, executors).

        Args:
            whole: the agent does all of them, however long that takes; else it may give back those
                that it has not begun, for other agents.

        Raises:
            SerializationError: one of them cannot be serialised.
            MessageTooLarge: together they are larger than ``max_message``.
        """
        self._monitor.must_be_ours()
        return self._submitter.send_chunk(items, priority=priority, whole=whole)

    def failed_as(self, kind: type[_Reply], error: AgentError) -> _Reply:
        """The future of a request that could not be sent (executors)."""
        self._monitor.must_be_ours()
        return self._submitter.failed(kind, error)

    def withdraw_waiting(self) -> None:
        """Cancel the futures of all requests of its orchestrator that no worker has."""
        self._monitor.must_be_ours()
        self._monitor.withdraw_waiting()

    def set_width(self, width: int) -> None:
        """Let at most ``width`` instances be busy at once. The others are warm
        spares, which take over at once from an instance that dies or is recycled."""
        self._monitor.must_be_ours()
        self._monitor.post(ev.SetWidth(self._agent.number, width))

    def throttled(self) -> Pause | None:
        """The current pause of its queue, for a throttled service (N23); None: there is none."""
        self._monitor.must_be_ours()
        return self._monitor.pause(self._agent)

    def allowed(self) -> int | None:
        """How many requests of its queue may be under way after a pause; None: as many as there are
        instances."""
        self._monitor.must_be_ours()
        return self._monitor.allowed(self._agent)
