"""What an agent can ask of the worker it runs in: `procorch.current()`.

A worker has one context for its whole life, installed before the factory runs; the worker tells it
where a request begins and ends. Any thread or task of the agent may read it. Where several requests
run at once, each has a context of its own. A cancel may come from another thread at any moment: it
carries the id of the request that it is aimed at, so that it can never hit the next one (N8).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from procorch.agents.account import account as account
from procorch.agents.account import enter as enter
from procorch.agents.conversation_turn import ConversationTurn
from procorch.agents.permits import NO_LIMITS, LimitRules, Permit
from procorch.agents.seeds import Seed as Seed
from procorch.agents.worker_services import Services, is_piece

if TYPE_CHECKING:
    from procorch.agents.stream_events import StreamEvent

_NO_RULES = LimitRules({})


class Context:
    """The worker, as the agent sees it.

    Args:
        agent: name of the agent.
        generation: 1 for the first process of this instance, one more with every restart.
        instance: which of its agent's instances this is, from 0; the same after a restart.
        restored: see the property.
        on_progress: what `progress()` calls; ``on_ready``: what `ready()` calls.
        services: what `ask` and `checkpoint` go to.
        clock: seconds on the clock of `deadline`.
        seed: what `seed` is derived from.
        client_retries: whether clients of services may try again: False where the parent does.
        limits: the limits that the parent knows.
        max_message: the largest request or answer, in bytes; None: it is not limited.
        on_child: what `count_child` calls.

    Example:
        >>> def counter():
        ...     count = current().restored or 0
        ...     def handle(messages):
        ...         nonlocal count
        ...         count += 1
        ...         current().checkpoint(count)
        ...         return count
        ...     return handle
        >>> with AgentOrchestrator() as orch:
        ...     orch.add_agent("counter", counter)
        ...     agent = orch.spawn("counter")
        ...     print(agent.send_message("one").output)
        ...     agent.restart()
        ...     print(agent.send_message("two").output)
        1
        2
    """

    __slots__ = (
        "_cancelled", "_clock", "_deadline", "_on_child", "_on_progress", "_on_ready", "_pid",
        "_request", "_restored", "_seed", "_services", "_streaming", "_traceparent", "agent",
        "client_retries", "concurrent", "finished", "generation", "instance", "limits",
        "max_message", "turn",
    )  # fmt: skip

    def __init__(
        self,
        agent: str,
        generation: int = 1,
        *,
        request: int | None = None,
        deadline: float | None = None,
        restored: Any = None,
        on_progress: Callable[[], object] | None = None,
        on_ready: Callable[[], object] | None = None,
        services: Services | None = None,
        clock: Callable[[], float] = monotonic,
        seed: Seed | None = None,
        client_retries: bool = True,
        limits: LimitRules = _NO_RULES,
        max_message: int | None = None,
        on_child: Callable[[float, float, int], object] | None = None,
        instance: int = 0,
    ) -> None:
        self.agent: str = agent
        self.concurrent: bool = False
        self.instance: int = instance
        self.limits: LimitRules = limits
        self.client_retries: bool = client_retries
        self.generation: int = generation
        self._restored = restored
        self.turn: ConversationTurn | None = None
        self.max_message: int | None = max_message
        self._on_child = on_child
        self._on_progress = on_progress
        self._on_ready = on_ready
        self._services = services
        self.finished: bool = False
        self._clock = clock
        self._cancelled: int | None = None
        self._pid = os.getpid()
        self._seed = seed or Seed("0")
        self.begin(request, deadline)

    @property
    def request(self) -> int | None:
        """The id of the request under way, None between requests."""
        return self._request

    @property
    def deadline(self) -> float | None:
        """When the request has to be answered, on the monotonic clock; None: no limit."""
        return self._deadline

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that this request came with; None: it came without. Spans of
        OpenTelemetry join it by themselves; give it to what is traced in another way."""
        return self._traceparent

    @property
    def conversation(self) -> str | None:
        """The name of the conversation that the request under way belongs to; None: to none."""
        return None if self.turn is None else self.turn.name

    @property
    def restored(self) -> Any:
        """The last checkpoint of an earlier generation, None at the first start; during a request
        in a named conversation the one of the conversation's last turn that had one."""
        return self._restored if self.turn is None else self.turn.last_state

    @restored.setter
    def restored(self, state: Any) -> None:
        self._restored = state

    def remaining(self) -> float | None:
        """Seconds left until the deadline, 0.0 once it has passed; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock())

    @property
    def cancelled(self) -> bool:
        """Whether the request should stop as soon as it can: the first stage of a stop (N8)."""
        return self._request is not None and self._cancelled == self._request

    @property
    def seed(self) -> int:
        """A number for the random generators of this request, from 0 to 2**63 - 1.

        It follows from the run's seed (``seed=`` of an orchestrator, pool or batch), the agent's
        name, the generation and the number of the request, in a chunk also of the item: the same
        program with the same seed gets the same numbers, no two requests get the same one. Outside
        requests it is different for each replica.
        """
        return self._seed.derive(self.agent, self.generation, self._request)

    def ready(self) -> None:
        """Tell that this service is ready, if it was added with ``says_ready=True``. It has no
        effect a second time, and in other agents."""
        self._refuse_in_fork()
        if self._on_ready is not None:
            self._on_ready()

    def progress(self) -> None:
        """Tell the watchdog that work goes on; it waits its `heartbeat_timeout` anew (N12)."""
        self._refuse_in_fork()
        if self._on_progress is not None:
            self._on_progress()

    def count_child(self, cpu_user: float, cpu_system: float, peak_rss: int) -> None:
        """Add what a child process has used to the metrics of this request.

        Args:
            cpu_user, cpu_system: seconds of processor time.
            peak_rss: bytes; the metrics have the largest process.
        """
        self._refuse_in_fork()
        if self._on_child is not None:
            self._on_child(cpu_user, cpu_system, peak_rss)

    def ask(self, name: str, message: Any) -> Any:
        """Ask another agent and wait for its answer, in what is left of this request's time (N16).

        A request that is cancelled takes its question along.

        Args:
            name: a running agent of the same orchestrator.
            message: text arrives as ``[UserMessage]``, anything else unchanged.

        Returns:
            What that agent returned.

        Raises:
            AgentError: what its request failed with; ``PluginError`` where there is no such agent,
                or where waiting would close a circle of agents that wait for each other.
        """
        answer = self._offered().ask(self.agent, name, message, self.remaining())
        enter(answer)
        return answer

    async def ask_async(self, name: str, message: Any) -> Any:
        """Like `ask`, without blocking the agent's event loop."""
        answer = await self._offered().ask_async(self.agent, name, message, self.remaining())
        enter(answer)
        return answer

    def limit(self, name: str | None = None) -> Permit:
        """A permit for one call of a service, for ``with`` and ``async with`` (N23).

        The block begins when the limit allows it. An exception that asks for a pause (a 429, an
        error with ``retry_after``) makes all wait that share the limit.

        Args:
            name: the limit; None: the agent's own (its setting ``limit``).

        Raises:
            ValueError: no name is given, and the agent has no limit.
            PluginError, BudgetExceeded: at the start of the block: no such limit, nothing left.
        """
        if (name := name or self.limits.own) is None:
            raise ValueError(f"agent {self.agent!r} has no setting `limit`: give limit() a name")
        return self.permit(name)

    def permit(self, limit: str | None) -> Permit:
        """A permit for a call of a model; ``limit``: the one that counts it; None: none does."""
        self._refuse_in_fork()
        return Permit(self._services or NO_LIMITS, self.agent, limit, self._request)

    @property
    def streaming(self) -> bool:
        """Whether the caller reads the answer while it comes (`OrchestratedHandle.stream`)."""
        return self._streaming

    def emit(self, piece: str | StreamEvent) -> None:
        """Send a piece of the answer, or an event, to a caller that reads it while it comes.

        It waits where the reader is behind; nothing happens where nobody reads. What the agent
        returns is the whole answer all the same.

        Raises:
            TypeError: it is no text and no event.
            MessageTooLarge: it is larger than ``max_message``.
        """
        if not is_piece(piece):
            raise TypeError(f"emit() takes text or an event, not {type(piece).__name__}")
        request = self._request
        if self._streaming and request is not None and piece:
            self.progress()
            self._offered().emit(self.agent, request, piece)

    async def emit_async(self, piece: str | StreamEvent) -> None:
        """Like `emit`, without blocking the agent's event loop."""
        if not is_piece(piece):
            raise TypeError(f"emit_async() takes text or an event, not {type(piece).__name__}")
        request = self._request
        if self._streaming and request is not None and piece:
            self.progress()
            await self._offered().emit_async(self.agent, request, piece)

    def checkpoint(self, state: Any) -> None:
        """Store ``state`` outside this process: the next generation has it as `restored` (N17).

        The last one wins; it is serialised here and now. During a request in a named conversation
        it is stored with the answer, for the next request in that conversation.

        Raises:
            SerializationError: it cannot be serialised.
            MessageTooLarge: it has more than 64 MiB.
        """
        self._offered().checkpoint(self.agent, state, self.turn)

    def finish(self) -> None:
        """This request is the agent's last: it ends in order after answering it (N0, normal).

        A "permanent" agent is started again, any other ends COMPLETED.
        """
        self._refuse_in_fork()
        self.finished = True

    def _refuse_in_fork(self) -> None:
        """A process that the agent's code has forked is not the worker (N21)."""
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"process {os.getpid()} was forked from the worker of agent {self.agent!r} (pid "
                f"{self._pid}) and cannot act for it: call this in the worker itself"
            )

    def _offered(self) -> Services:
        self._refuse_in_fork()
        if self._services is None:
            raise RuntimeError("this context has no orchestrator: it was made for a test")
        return self._services

    def begin(
        self,
        request: int | None,
        deadline: float | None = None,
        *,
        streaming: bool = False,
        traceparent: str | None = None,
    ) -> None:
        """The worker's part: `request` is under way, to be answered by `deadline`."""
        # An old cancel is not taken back here: a new one, from another thread, might go with it.
        self._request = request
        self._deadline = deadline
        self._streaming = streaming
        self.turn = None
        self._traceparent = traceparent

    def end(self) -> None:
        """The worker's part: the request has been answered."""
        self.begin(None)

    def cancel(self, request: int) -> None:
        """The worker's part: raise the flag for `request`, under way or yet to begin."""
        self._cancelled = request

    def __repr__(self) -> str:
        at = f"generation {self.generation}, request {self.request}"
        return f"<Context of agent '{self.agent}', {at}>"
