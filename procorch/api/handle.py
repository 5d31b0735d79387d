"""The handle of a running agent: sends requests and ends the agent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, overload

from procorch.api import scaling
from procorch.api.handle_state import HandleState
from procorch.api.sending import Sending
from procorch.errors import TakesNoRequests
from procorch.futures.reply import ReplyFuture
from procorch.messages import AgentResult
from procorch.runtime.instance_runtime import AgentRuntime
from procorch.runtime.monitor import Monitor
from procorch.runtime.submit import Delivery, Submitter
from procorch.supervision import events as ev
from procorch.units import seconds, whole

if TYPE_CHECKING:
    from procorch.api.conversations.conversation import Conversation
    from procorch.api.conversations.keeper import Keeper
    from procorch.api.conversations.submitter import ConversationSubmitter


class OrchestratedHandle(HandleState, Sending):
    """A running agent with all its instances; safe to use from any thread and any asyncio task.

    Requests go to the agent's queue, and from there to the first instance that is free. A handle
    stays valid over restarts: processes change, and the requests in the queue wait for the next
    one. `AgentOrchestrator.spawn` makes handles.

    Example:
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("solver", ScriptedAgent(["first", "second"]))
        ...     agent = orch.spawn("solver")
        ...     print(agent.send_message("hello").text)
        ...     print(agent.submit("hello").result(timeout=10).text)
        first
        second
    """

    def __init__(
        self,
        agent: AgentRuntime,
        monitor: Monitor,
        max_message: int,
        keeper: Callable[[], Keeper] | None = None,
        conversation: str | None = None,
    ) -> None:
        super().__init__(agent, monitor)
        self._max_message = max_message
        self._keeper = keeper
        self._submitter = Submitter(agent, max_message, monitor)
        if conversation is not None:
            self._submitter = self._in_conversation(conversation)

    def conversation(self, name: str) -> Conversation:
        """A conversation with the agent, which is kept on disk under its name.

        It begins with its first request, and goes on over restarts of the agent and of the program.
        Any instance of the agent continues it. It has one request at a time, in their order; those
        of other conversations run meanwhile where the agent has more instances.

        Args:
            name: any text, such as the id of a user.

        Raises:
            ValueError: the orchestrator has no ``conversations``, or the name is empty.
            TypeError: the name is no text.
            ConversationStoreError: the file of the orchestrator cannot be used.
        """
        self._monitor.must_be_ours()
        from procorch.api.conversations.conversation import Conversation

        return Conversation(self._in_conversation(name), self._monitor)

    def _in_conversation(self, name: str) -> ConversationSubmitter:
        if self._agent.service:
            raise TakesNoRequests(agent=self.name)
        # Here, since most programs have no conversations.
        from procorch.api.conversations.conversation import must_be_a_name
        from procorch.api.conversations.submitter import ConversationSubmitter

        must_be_a_name(name)
        if self._keeper is None:
            raise ValueError(
                f"agent {self.name!r} has no conversations: they need "
                "AgentOrchestrator(conversations=PATH)"
            )
        return ConversationSubmitter(
            self._agent, self._max_message, self._monitor, self._keeper(), name
        )

    def deliver(
        self,
        request: Any,
        *,
        timeout: float | str | None = None,
        retries: int | None = None,
        priority: int = 0,
    ) -> ReplyFuture:
        """Like `submit` for work that is queued in bulk (pools, executors, batches).

        Text arrives as text. The timeout counts from the time at which the agent gets the request,
        so that the wait behind other requests does not count.

        Args:
            priority: of the waiting requests the highest goes first; equal ones in their order.
        """
        self._monitor.must_be_ours()
        delivery = bulk(timeout, retries, priority)
        return self._submitter.send(request, self._submitter.reply, delivery)

    def await_result(self) -> AgentResult:
        """Accept no further requests, finish the queue, and wait for the agent's end.

        Returns:
            An empty result.

        Raises:
            AgentError: the error that ended the agent: `Aborted` after a cancel, `PluginError` if
                its supervisor stopped it, its last error if it has no supervisor.
        """
        self.drain()
        return self._agent.ended.result()

    def drain(self) -> None:
        """Let the agent finish the accepted requests and then end. Returns at once."""
        self._monitor.must_be_ours()
        self._monitor.post(ev.Drain(self._agent.number))

    def stop(self, *, grace: float | str | None = None) -> None:
        """Finish the accepted requests, then end the agent, by force if needed; wait for it (N8).

        Args:
            grace: seconds for these requests; default: the agent's ``shutdown.grace``.
        """
        self._monitor.must_be_ours()
        wait = self._agent.settings.shutdown.grace if grace is None else seconds(grace, "grace")
        self._monitor.post(ev.Stop(self._agent.number, wait))
        self.wait()

    def restart(self, *, timeout: float | str | None = None) -> None:
        """Replace the agent's process and wait until the new one is ready; not counted (N1).

        The process finishes its request first. Of several instances one after the other is
        replaced, and the others serve meanwhile.

        Args:
            timeout: seconds to wait for all of them; None: no limit. ``request_timeout`` limits the
                request, ``start_timeout`` each start.

        Raises:
            AgentError: it ended instead.
            TimeoutError: not all were replaced in time. The one that was waited for is replaced
                after its request, those after it are not.
        """
        self._monitor.must_be_ours()
        end = None if timeout is None else time.monotonic() + seconds(timeout, "timeout")
        for instance in self._agent.live() or self._agent.slots()[:1]:
            left = None if end is None else max(0.0, end - time.monotonic())
            fresh = self._monitor.restart(instance)
            try:
                fresh.result(left)
            except TimeoutError:
                raise TimeoutError(
                    f"instance {instance.slot} of agent {self.name!r} had no new process in time; "
                    "it gets one when its request is done"
                ) from None

    def scale(self, count: int, *, timeout: float | str | None = None) -> None:
        """Change how many instances of the agent there are, and wait until it is done.

        The agent then has the slots 0 to ``count`` - 1. Missing ones are started, those that had
        ended by themselves too. The instances of higher slots take no more requests, finish those
        they have, and end. With 0 the agent stays, and its requests wait until it is scaled up.

        Args:
            timeout: seconds for all this; None: no limit. The ``start_timeout`` of the agent limits
                each start.

        Raises:
            ValueError: ``count`` is negative.
            StartError: a new instance could not be started; nothing has changed.
            AgentStopped: the agent is ending, or has ended.
            Aborted: the orchestrator is closing.
            TimeoutError: new instances were not ready in time, and nothing has changed; or
                instances of higher slots still finish their requests, and end afterwards.
        """
        self._monitor.must_be_ours()
        scaling.scale(self._monitor, self._agent, count, timeout)

    def pause(self) -> None:
        """Begin no more of its requests until `resume`.

        Requests that run are finished, others wait in the queue, and their deadlines count. It
        stays paused over restarts, reloads and changes of the number of its instances. A second
        call has no effect. `drain`, `stop` and the end of the orchestrator end the pause, because
        they finish what was accepted.

        Raises:
            TakesNoRequests: it is a service.
        """
        self._set_paused(paused=True)

    @overload
    def resume(self) -> None: ...

    @overload
    def resume(
        self,
        result: AgentResult,
        decisions: Mapping[str, bool | str],
        *,
        timeout: float | str | None = None,
    ) -> AgentResult: ...

    def resume(
        self,
        result: AgentResult | None = None,
        decisions: Mapping[str, bool | str] | None = None,
        *,
        timeout: float | str | None = None,
    ) -> AgentResult | None:
        """Go on with what waits: the agent, or with a paused result the conversation.

        ``handle.resume()`` ends a `pause`: requests that wait are begun again. It has no effect if
        the agent is not paused.

        ``handle.resume(result, {call_id: True})`` decides about the calls of tools that a result
        waits for, and waits for the answer::

            result = handle.send_message("Delete the old reports")
            while result.pending:
                for call in result.pending:
                    print(call.name, call.arguments)
                result = handle.resume(result, {call.id: True for call in result.pending})

        The conversation keeps what waits; with ``checkpoint=True`` also over the death of its
        process. `ToolDecisions` is the same request for `submit` and `stream`.

        Args:
            result: a result of this agent with `AgentResult.pending`.
            decisions: for the id of each pending call: True has the tool run, False has the model
                told that it was not approved, and a text is the reason that the model is told.
            timeout: as for `send_message`.

        Returns:
            The agent's answer, which may be paused again; None without arguments.

        Raises:
            ValueError: the result waits for nothing, a call was left out, or one is not pending.
            InvalidContinue: these calls do not wait any more: they were decided about, the
                conversation has gone on, or it was lost with its process.
            AgentError: as for `send_message`.
        """
        if result is None and decisions is None and timeout is None:
            self._set_paused(paused=False)
            return None
        if result is None or decisions is None:
            raise TypeError("resume() takes a result and the decisions about its calls, or nothing")
        from procorch.agents.approval import decided  # few agents ask

        return self._call(decided(result, decisions), timeout)

    def _set_paused(self, *, paused: bool) -> None:
        self._monitor.must_be_ours()
        if self._agent.service:
            raise TakesNoRequests(agent=self.name)
        changes = self._monitor.changes
        done = changes.set_paused(self._agent, paused=paused)
        changes.await_change(self._agent, done)

    def wait(self) -> None:
        """Wait until the agent has ended, with any status."""
        self._monitor.must_be_ours()
        self._agent.ended.exception()

    def cancel(self) -> None:
        """End the agent now (N14): its requests in flight get `Aborted`, it ends CANCELLED.

        Returns at once; `await_result` waits for the end. A second call has no effect.
        """
        self._monitor.must_be_ours()
        self._monitor.post(ev.Cancel(self._agent.number))


def bulk(timeout: float | str | None, retries: int | None, priority: int) -> Delivery:
    """How a request of `OrchestratedHandle.deliver` is delivered.

    Raises:
        TypeError, ValueError: one of the arguments is invalid.
    """
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError(f"priority must be a whole number, not {type(priority).__name__}")
    return Delivery(
        timeout=None if timeout is None else seconds(timeout, "timeout"),
        from_dispatch=True,
        retries=None if retries is None else whole(retries, "retries"),
        priority=priority,
    )
