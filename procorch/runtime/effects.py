"""Performs the actions of the machine, on the thread that owns the loop (`monitor`, `direct`).

Nothing here blocks, opens a payload or runs code of the user: other threads do that.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from procorch.clock import Clock
from procorch.errors import Aborted, AgentStopped
from procorch.futures.watch import EventHub
from procorch.launch.base import Launcher, Spec, WorkerProcess
from procorch.launch.cgroup import Cgroup, Cgroups
from procorch.messages import AgentResult
from procorch.runtime import policy_call
from procorch.runtime.asks import QuestionRelay
from procorch.runtime.calls import CallGate
from procorch.runtime.clusters import no_process
from procorch.runtime.instance_runtime import AgentRuntime, InstanceRuntime
from procorch.runtime.open_requests import OpenRequests
from procorch.runtime.ports import EventPort
from procorch.runtime.reloads import end_reload, release_waiting
from procorch.runtime.serial_executor import SerialExecutor
from procorch.supervision import actions, notices
from procorch.supervision import events as ev
from procorch.supervision.states import AgentStatus, StopStage
from procorch.telemetry import log
from procorch.wire import environment, headers
from procorch.wire.frame import Kind


class ActionRunner:
    """Performs the actions of one machine.

    Args:
        launcher: starts the processes.
        max_message: the largest reply, in bytes.
        sys_path: returns the ``sys.path`` of a worker; called at each start.
        clock: tells the time, and is told of calls that are pending.
        events: accepts events for the machine.
        asks: cancels the questions of requests that are cancelled.
        calls: knows which workers wait for a permit.
        hub: publishes the machine's notices.
        instances: the instances that have not ended, by key.
        agents: the agents that have not ended, by number.
        requests: the requests without an outcome.
        seed: the seeds of requests are derived from it.

    Attributes:
        actions: the method that performs each kind of action.
        answers: what the machine has asked for with the current actions, and gets after them.
    """

    def __init__(
        self,
        launcher: Launcher,
        max_message: int,
        sys_path: Callable[[], list[str]],
        clock: Clock,
        events: EventPort,
        asks: QuestionRelay,
        calls: CallGate,
        hub: EventHub,
        instances: dict[int, InstanceRuntime],
        agents: dict[int, AgentRuntime],
        requests: OpenRequests,
        seed: str,
    ) -> None:
        self._launcher = launcher
        self._max_message = max_message
        self._sys_path = sys_path
        self._clock = clock
        self._seed = seed
        self._events = events
        self._asks = asks
        self._calls = calls
        self._hub = hub
        self._policy_thread = SerialExecutor("procorch-policy", clock)
        self._callbacks = SerialExecutor("procorch-callbacks", clock)
        self._requests = requests
        self._instances = instances
        self._agents = agents
        self._cgroups = Cgroups()
        self.answers: deque[ev.PolicyAnswered | ev.TakenBack] = deque()
        self.actions: dict[type, Callable[[Any], None]] = {
            actions.Launch: self._launch,
            actions.TakeOver: self._take_over,
            actions.ReloadEnded: self._reload_ended,
            actions.Send: requests.send,
            actions.BeginAhead: requests.begin,
            actions.TakeBack: self._take_back,
            actions.Withdraw: requests.withdraw,
            actions.Proceed: self._proceed,
            actions.Resolve: requests.resolve,
            actions.AskPolicy: self._ask,
            actions.Reconsider: self._reconsider,
            actions.Probe: self._probe,
            actions.StopProcess: self._stop_process,
            actions.CancelTask: self._cancel_task,
            actions.Started: self._started,
            actions.Ended: self._finish,
            actions.AgentEnded: self._finish_agent,
            actions.Notify: self._emit,
        }

    def start(self) -> None:
        """Start the threads that run the user's code."""
        self._policy_thread.start()
        self._callbacks.start()

    def close(self) -> None:
        """End these threads after the calls they have begun; remove the cgroups of the workers."""
        self._cgroups.close()
        self._policy_thread.close(timeout=1.0)
        self._callbacks.close(timeout=1.0)

    def run_callback(self, call: Callable[[], None]) -> None:
        """Run code of the user on the callback thread."""
        self._callbacks.call(call)

    def abandon(self) -> None:
        """Abort all requests and agents that are left; after a regular end there are none."""
        self._requests.abandon()
        for key, instance in list(self._instances.items()):
            self._finish(actions.Ended(key, AgentStatus.STOPPED, Aborted(agent=instance.name)))
        for number, agent in list(self._agents.items()):
            aborted = Aborted(agent=agent.name)
            self._finish_agent(actions.AgentEnded(number, AgentStatus.STOPPED, aborted))

    def refuse(self, event: ev.Event) -> None:
        """Answer an event that came too late, because the monitor has ended."""
        if isinstance(event, ev.Submit):
            stopped = AgentStopped("agent channel closed")
            self._requests.resolve(actions.Resolve(event.request, stopped))
        elif isinstance(event, ev.SpawnTogether):
            name, number = event.spawns[0].name, event.spawns[0].mailbox
            stopped = AgentStopped("the orchestrator is closed", agent=name)
            for spawn in event.spawns:
                self._finish(actions.Ended(spawn.key, AgentStatus.STOPPED, stopped))
            self._finish_agent(actions.AgentEnded(number, AgentStatus.STOPPED, stopped))

    # ---- actions

    def _launch(self, action: actions.Launch) -> None:
        instance = self._instances[action.key]
        if action.beside or action.release != instance.release:
            instance.follow_with(action.generation)
        if action.beside:
            instance.beside = self._start(instance, action)
            return
        instance.generation, instance.release = action.generation, action.release
        instance.process = instance.pid = None
        instance.output.begin(shared=instance.settings.concurrency > 1)
        if instance.agent.service:
            instance.run = self._requests.run_by_itself(instance, action.generation)
        instance.process = self._start(instance, action)

    def _start(self, instance: InstanceRuntime, action: actions.Launch) -> WorkerProcess | None:
        limit, cgroup = instance.settings.memory_limit, None
        if limit is not None and not self._launcher.caps.remote:
            cgroup = self._cgroups.make(limit)
        try:
            return self._launcher.start(self._spec(instance, action, cgroup))
        except Exception as error:  # of the system (descriptors, memory), or of the settings
            failed = no_process(instance.name, error)
            failed.__cause__ = error
            if cgroup is not None:
                cgroup.end()
            self._events.post(ev.StartFailed(instance.key, action.generation, failed))
            self._events.post(ev.Exited(instance.key, action.generation, ev.Exit()))
            return None

    def _take_over(self, action: actions.TakeOver) -> None:
        instance = self._instances[action.key]
        instance.process, instance.beside = instance.beside, instance.process
        instance.generation, instance.release = action.generation, action.release
        where = None if instance.process is None else instance.process.where
        instance.pid = None if where is None else where.pid

    def _reload_ended(self, action: actions.ReloadEnded) -> None:
        end_reload(self._instances[action.key], action.error)

    def _spec(
        self, instance: InstanceRuntime, action: actions.Launch, cgroup: Cgroup | None
    ) -> Spec:
        paths, settings = self._sys_path(), instance.settings
        head = headers.InitHead(
            name=instance.name,
            generation=action.generation,
            sys_path=paths,
            max_message=self._max_message,
            checkpoint=-1 if instance.checkpoint is None else len(instance.agent.factory),
            env=dict(settings.env),
            cwd=settings.cwd,
            nice=settings.priority,
            cpus=settings.cpus,
            address_space=settings.address_space_limit,
            surroundings=environment.gather(),
            seed=self._seed,
            instance=instance.key,
            slot=instance.slot,
            waits=settings.sends_ahead,
            weigh=settings.weighed_above,
            client_retries=settings.client_retries,
            limits=self._calls.retries,
            limit=settings.limit,
            run=0 if instance.run is None else instance.run.id,
            budgeted=any(payer.budget for payer in instance.agent.payers),
            cgroup=None if cgroup is None else str(cgroup.path),
            as_json=settings.answers == "json",
            concurrency=settings.concurrency,
            tick=(settings.heartbeat_timeout or 0.0) / 4,
        )
        body = instance.agent.factory + (instance.checkpoint or b"")
        return Spec(
            instance.key, action.generation, instance.name, headers.encode(head), body,
            instance.output.captures_stdout, instance.code(action.release, paths), cgroup,
            settings.memory_limit, settings.resources, settings.placement,
        )  # fmt: skip

    def _proceed(self, action: actions.Proceed) -> None:
        process = self._instances[action.key].process
        if process is not None:
            process.send(Kind.PROCEED, 0, b"", [])

    def _take_back(self, action: actions.TakeBack) -> None:
        process, asked = self._instances[action.key].process, action.number
        if process is not None:
            claimed = process.take_back(asked)
            self.answers.append(ev.TakenBack(action.key, action.generation, claimed, asked))

    def read_detached(self) -> None:
        """Read the sockets that callers read themselves, before a timer expires: a reply that has
        come already must count first. The loop has read all other sockets."""
        for instance in list(self._instances.values()):
            if instance.process is not None:
                instance.process.read()

    def _ask(self, action: actions.AskPolicy) -> None:
        policy = self._instances[action.key].agent.policy
        assert policy is not None
        if policy_call.is_ours(policy, action.error):  # the caller waits for it
            self.answers.append(policy_call.ask(policy, action))
        else:
            self._policy_thread.call(lambda: self._events.post(policy_call.ask(policy, action)))

    def _reconsider(self, action: actions.Reconsider) -> None:
        policy = self._instances[action.key].agent.policy
        assert policy is not None
        self._policy_thread.call(lambda: self._events.post(policy_call.reconsider(policy, action)))

    def _stop_process(self, action: actions.StopProcess) -> None:
        process = self._instances[action.key].process_of(action.generation)
        if process is None:
            return
        match action.stage:
            case StopStage.LEAVE:
                process.send(Kind.STOP, 0, b"", [])
                run = self._instances[action.key].run
                if run is not None:  # it does not read the frame: it is busy until it ends
                    self._asks.cancel(process, run.id)
                    process.cancel(run.id, force=False)
            case StopStage.COOPERATE | StopStage.INTERRUPT as stage:
                self._asks.cancel(process, action.request)
                process.cancel(action.request, force=stage is StopStage.INTERRUPT)
            case StopStage.STACK:
                process.dump_stacks()
            case StopStage.TERMINATE:
                process.kill(signal.SIGTERM)
            case StopStage.KILL:
                process.kill(signal.SIGKILL)

    def _cancel_task(self, action: actions.CancelTask) -> None:
        process = self._instances[action.key].process_of(action.generation)
        if process is not None:
            self._asks.cancel(process, action.request)
            process.send(Kind.CANCEL, action.request, b"", [])

    def _probe(self, action: actions.Probe) -> None:
        process = self._instances[action.key].process
        if process is not None:
            progress = self._calls.progress_of(process)
            self._events.post(ev.Probed(action.key, action.generation, progress))

    def _started(self, action: actions.Started) -> None:
        self._instances[action.key].started.set_result(None)

    def _finish(self, action: actions.Ended) -> None:
        instance = self._instances.pop(action.key, None)
        if instance is None:
            return
        instance.status = action.status
        instance.last = action.restarts, action.last_exit
        if instance.retired:
            instance.agent.instances.remove(instance)
        error = action.error
        if not instance.started.done():
            stopped = AgentStopped(
                f"agent {instance.name!r} ended before it was ready", agent=instance.name
            )
            instance.started.set_exception(stopped if error is None else error)
        if error is None:
            instance.ended.set_result(None)
        else:
            instance.ended.set_exception(error)
        release_waiting(instance)

    def _finish_agent(self, action: actions.AgentEnded) -> None:
        agent = self._agents.pop(action.agent, None)
        if agent is None:
            return
        agent.status = action.status
        agent.mailbox.close()
        self._hub.ended(agent.name)
        if action.error is None:
            agent.ended.set_result(AgentResult())
        else:
            agent.ended.set_exception(action.error)

    def _emit(self, action: actions.Notify) -> None:
        notice = action.notice
        if type(notice) is notices.Unreaped:
            pid = self._instances[action.key].pid_of(notice.generation)
            notice = msgspec.structs.replace(notice, pid=pid)
        self.publish(notice)
        if type(notice) is notices.Ready:  # `restart` returns: the event is there by then
            self._became_ready(self._instances[action.key], notice.generation)

    def publish(self, notice: notices.AgentEvent) -> None:
        """Publish an event, with the time of the day, and log it."""
        told = msgspec.structs.replace(notice, time=self._clock.wall())
        self._hub.publish(told)
        if log.wanted(told):
            self._callbacks.call(lambda: log.write(told))

    @staticmethod
    def _became_ready(instance: InstanceRuntime, generation: int) -> None:
        instance.serves(generation)
        for _ in range(len(instance.fresh)):
            before, fresh = instance.fresh.popleft()
            if before < generation:
                fresh.set_result(None)
            else:
                instance.fresh.append((before, fresh))
