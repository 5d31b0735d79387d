"""The orchestrator: registers agents, starts them, and manages the running tree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from procorch.api.handle import OrchestratedHandle
from procorch.api.reloading import Reloading
from procorch.errors import PluginError
from procorch.futures.watch import EventStream as EventStream
from procorch.runtime.output_sink import OutputSink
from procorch.runtime.submit import numbered_apart as numbered_apart
from procorch.supervision.policy import Policy, checked_policy
from procorch.units import whole

if TYPE_CHECKING:
    from procorch.api.children import ChildCounts, ChildInfo
    from procorch.api.conversations.reader import ConversationInfo
    from procorch.launch.ray.backend import RayBackend


class AgentOrchestrator(Reloading):
    """Starts named agents, each in a process of its own, and replaces them when they fail.

    A context manager (also asynchronous): leaving the block closes it. Settings may be given here
    or with the chainable ``with_...`` methods. All methods are safe to call from any thread.

    Args:
        supervisor: decides what happens after an error: an object with
            ``on_agent_error(name, error)`` or a function with that signature. None: an agent whose
            request fails is kept, and one whose process dies ends FAILED.
        channel_buffer: requests that may wait in an agent's queue; further senders wait until there
            is room.
        max_restarts: consecutive restarts of an agent; None: the policy's ``max_restarts``, or 3.
        max_message: the largest request or reply, in bytes or as text such as ``"1G"``.
        preload: names of modules that the zygote imports once, so that workers start faster.
        start_method: "zygote" forks workers from a process that has everything loaded (only on
            Linux, and the default there); "spawn" starts a new interpreter for each. None: the
            environment variable ``PROCORCH_START_METHOD``, or the default.
        seed: ``current().seed`` is derived from it; None: a new one for each orchestrator.
        output_sink: receives what all agents write on standard output and error, whatever their
            ``output`` says (docs/how-to/output.md); None: it goes where that says.
        backend: where the agents run: ``"ray"`` or ``"ray:HOST:PORT"``, a Ray cluster
            (docs/how-to/cluster.md), or a `RayBackend`; None: this machine.
        conversations: the file that keeps conversations with names (docs/how-to/conversations.md),
            made on first use; None: there are none.

    Raises:
        ClusterError: ``backend`` needs Ray, and it is not installed or too old.
        ValueError, TypeError: an argument is out of range or of a wrong type.

    Example:
        >>> def solver():
        ...     return lambda messages: messages[-1].text.upper()
        >>> with AgentOrchestrator(supervisor=DefaultSupervisor()) as orch:
        ...     orch.add_agent("solver", solver)
        ...     print(orch.spawn("solver").send_message("hello").text)
        HELLO
    """

    def __init__(
        self,
        *,
        supervisor: Policy | None = None,
        channel_buffer: int = 32,
        max_restarts: int | None = None,
        max_message: int | str = "1G",
        preload: Sequence[str] = (),
        start_method: str | None = None,
        seed: int | None = None,
        output_sink: OutputSink | None = None,
        backend: str | RayBackend | None = None,
        conversations: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(
            max_restarts, supervisor=supervisor, channel_buffer=channel_buffer,
            max_message=max_message, preload=preload, start_method=start_method, seed=seed,
            output_sink=output_sink, backend=backend, conversations=conversations,
        )  # fmt: skip

    def with_supervisor(self, policy: Policy) -> Self:
        """Set the policy for agents spawned from now on."""
        self._supervisor = checked_policy(policy)
        return self

    def with_channel_buffer(self, size: int) -> Self:
        """Set ``channel_buffer`` for agents spawned from now on."""
        self._channel_buffer = whole(size, "channel_buffer", least=1)
        return self

    def __repr__(self) -> str:
        return (
            f"AgentOrchestrator(agents={self.names()!r}, supervisor={self._supervisor!r}, "
            f"channel_buffer={self._channel_buffer})"
        )

    # ---- the running tree

    def stop(self, name: str, *, grace: float | str | None = None) -> None:
        """Stop the running agent of a name, the agents linked to it first, and wait for the end.

        Args:
            grace: seconds for the accepted requests; default: the agent's ``shutdown.grace``.

        Raises:
            PluginError: no such agent. (One that does not run is not an error.)
        """
        self.must_be_ours()
        handle = self.handle(name)
        if handle is not None:
            handle.stop(grace=grace)

    def restart(self, name: str, *, timeout: float | str | None = None) -> None:
        """Replace an agent's process and wait until the new one is ready; not counted (N1).

        Of several instances one after the other is replaced, and the others serve meanwhile.

        Args:
            timeout: seconds to wait for all of them; None: no limit.

        Raises:
            PluginError: no such agent, or it does not run.
            AgentError: it ended instead.
            TimeoutError: not all were replaced in time; see `OrchestratedHandle.restart`.
        """
        self._running(name).restart(timeout=timeout)

    def scale(self, name: str, count: int, *, timeout: float | str | None = None) -> None:
        """Change how many instances of an agent there are, and wait until it is done.

        See `OrchestratedHandle.scale`, which has the other errors.

        Args:
            name: a running agent; the latest of several of that name.
            count: the agent then has the slots 0 to ``count`` - 1. With 0 its requests wait.
            timeout: seconds for all this; None: no limit.

        Raises:
            PluginError: no such agent, it does not run, or the orchestrator is closed.
            ValueError: ``count`` is negative.
            StartError: a new instance could not be started; nothing has changed.
        """
        handle = self._running(name)
        self.running_monitor()
        handle.scale(count, timeout=timeout)

    async def scale_async(
        self, name: str, count: int, *, timeout: float | str | None = None
    ) -> None:
        """Like `scale`, without blocking the event loop. If the task is cancelled meanwhile, the
        change goes on."""
        import asyncio

        await asyncio.to_thread(self.scale, name, count, timeout=timeout)

    def _running(self, name: str) -> OrchestratedHandle:
        handle = self.handle(name)
        if handle is None:
            raise PluginError("orchestrator", f"agent {name!r} is not running")
        return handle

    def remove(self, name: str) -> None:
        """Stop an agent and remove its registration.

        Raises:
            PluginError: no such agent.
            ValueError: it has children; remove them first.
        """
        self.must_be_ours()
        self._registry.must_be_childless(name)
        self.stop(name)
        self._registry.remove(name)
        self._one_user_less()

    def which_children(self, name: str) -> tuple[ChildInfo, ...]:
        """The registered children and their states, in order of registration (OTP).

        A child with several instances has a row for each of them, in the order of their slots.
        """
        from procorch.api.children import ChildInfo, running_state

        self.must_be_ours()
        found: list[ChildInfo] = []
        for child in self._registry[name].children:
            restart = self._registry[child].given.get("restart", "transient")
            monitor = self._monitor
            agent = None if monitor is None else monitor.find(child)
            if monitor is None or agent is None:
                found.append(ChildInfo(child, None, "stopped", restart))
                continue
            handle = self._handle_of(agent, monitor)
            for each in agent.slots():
                state = running_state(monitor.look(each)[0])
                found.append(ChildInfo(child, handle, state, restart, each.slot))
        return tuple(found)

    def count_children(self, name: str) -> ChildCounts:
        """How many children there are, and how many of them run (OTP)."""
        from procorch.api.children import ChildCounts

        self.must_be_ours()
        counts = ChildCounts(0, 0, 0, 0)
        for child in self._registry[name].children:
            entry = self._registry[child]
            agent = None if self._monitor is None else self._monitor.find(child)
            size = entry.given.get("instances", 1) if agent is None else agent.size
            counts += ChildCounts(
                specs=1,
                active=0 if agent is None else len(agent.live()),
                supervisors=size if entry.children else 0,
                workers=0 if entry.children else size,
            )
        return counts

    # ---- conversations

    def conversations(self, agent: str | None = None) -> list[ConversationInfo]:
        """The conversations that are kept, the one that changed last first.

        Args:
            agent: only those with this agent; None: all.

        Raises:
            ValueError: the orchestrator has no ``conversations``.
            ConversationStoreError: their file cannot be used.
        """
        self.must_be_ours()
        return self.keeper().read(lambda file: file.list(agent)).result()

    async def conversations_async(self, agent: str | None = None) -> list[ConversationInfo]:
        """Like `conversations`, without blocking the event loop."""
        import asyncio

        self.must_be_ours()
        return await asyncio.wrap_future(self.keeper().read(lambda file: file.list(agent)))

    # ---- watching

    def monitor(self, name: str, *, requests: bool = True) -> EventStream:
        """Events of one agent from now on, for ``for`` or ``async for``; ends with the agent (N18).

        Watching an agent that has already ended yields its end.

        Args:
            requests: also `RequestStarted` and `RequestDone`; without them watching costs the
                requests no time.

        Raises:
            PluginError: no such agent.
        """
        self.must_be_ours()
        self._registry[name]
        return self.hub().watch(name, requests=requests)

    def events(self, *, requests: bool = True) -> EventStream:
        """Events of all agents from now on, for ``for`` and ``async for``; ends with `close`.

        Args:
            requests: as for `monitor`.
        """
        self.must_be_ours()
        return self.hub().watch(None, requests=requests)
