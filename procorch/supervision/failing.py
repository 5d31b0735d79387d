"""Errors, deaths and exits, and the policy's verdict on them (seed, N5, N6, N13)."""

from __future__ import annotations

from typing import Any

from procorch.errors import (
    AgentError,
    AgentHung,
    MemoryLimitExceeded,
    PluginError,
    StartError,
)
from procorch.errors.texts import failed_start, text_of
from procorch.supervision import actions, holding, notices, tree
from procorch.supervision import events as ev
from procorch.supervision.charges import blamed_first, charge, fail_others, resolve_charged
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.process import Course
from procorch.supervision.replacing import death, replace, replace_renewed, tell_hung
from procorch.supervision.restarts import ExitKind, Verdict, decide
from procorch.supervision.states import AgentStatus, Phase, StopStage

# ---- what happened


def exited(core: Core, a: Instance, event: ev.Exited) -> None:
    """A serving process ended: normally (N0), on our request, or by a death (N3, N11)."""
    core.process_ended(a, event.exit)
    assert a.process.ready_at is not None
    a.limits.was_ready(a.process.ready_at, core.now)
    lost = blamed_first(a, core.take_inflight(a), event.exit)
    if a.process.hung:
        if lost:
            tell_hung(core, a, lost[0])
        else:
            # Its answer came in the last moment, and the caller has it: it did not hang.
            a.process.reason, a.process.stopped_for_request = None, True
    # There are others if the reply to the one before was unreadable, or if they ran at once.
    fail_others(core, a, lost, event.exit)
    if lost:
        holding.ended(core, a)
    if not lost and _in_order(a, event.exit):
        _apply(core, a, _finished(core, a), None)
    elif a.process.stopped_for_request and a.process.reason is None and not lost:
        replace(core, a, counted=False)
    else:
        request = lost[0] if lost else None
        error = death(a, event.exit, request, lost[1:])
        core.tell(a, notices.Crashed, error=error)
        charged = charge(core, a, request, error, event.exit)
        if a.process.stopped_for_request and a.process.concurrency > 1:
            resolve_charged(core, charged)
            replace(core, a, counted=False)
        else:
            core.ask_policy(a, charged)


def exited_while_awaiting_policy(core: Core, a: Instance, event: ev.Exited) -> None:
    """The verdict on the pending error applies to the death as well: it counts as one failure."""
    core.process_ended(a, event.exit)
    lost = blamed_first(a, core.take_inflight(a), event.exit)
    if lost:
        tell_hung(core, a, lost[0])
        fail_others(core, a, lost, event.exit, since=0)
    if lost or not _in_order(a, event.exit):
        a.process.course = Course.SERVING
        core.tell(a, notices.Crashed, error=death(a, event.exit, None))


def _in_order(a: Instance, exit: ev.Exit) -> bool:
    """Whether the agent had finished, and its process exited by itself or was ended (N0)."""
    made_to = (
        a.process.reason is None
        and a.process.stage is not None
        and a.process.stage > StopStage.LEAVE
    )
    return a.process.course.leaves and (exit.code == 0 or made_to)


def memory_exceeded(core: Core, a: Instance, event: ev.MemoryExceeded) -> None:
    """Kill a worker above its memory limit at once: the system may be short of memory already."""
    if a.process.reason is None:
        limit = a.process.memory_limit
        a.process.reason = MemoryLimitExceeded(agent=a.name, limit=limit, observed=event.observed)
        core.stop_process(a, StopStage.KILL)


def stream_broken(core: Core, a: Instance, event: ev.StreamBroken) -> None:
    """Kill a worker that broke the protocol: nothing it writes from now on can be trusted."""
    if a.process.reason is None:
        a.process.reason = event.error
        core.stop_process(a, StopStage.KILL)


def heartbeat_due(core: Core, a: Instance, event: object) -> None:
    """Check whether a busy agent makes progress (N12)."""
    timeout = a.settings.heartbeat_timeout
    assert timeout is not None  # Without one the timer is never armed; a reply disarms it.
    core.out.append(actions.Probe(a.key, a.generation))
    core.timers.arm((Due.HEARTBEAT, a.key), core.now + timeout / 4)


def probed(core: Core, a: Instance, event: ev.Probed) -> None:
    """Compare the progress count of a busy agent: one without progress for too long hangs (N12)."""
    timeout = a.settings.heartbeat_timeout
    if (
        timeout is None
        or a.process.heartbeat is None
        or not a.process.inflight
        or a.process.reason is not None
    ):
        return
    seen, since = a.process.heartbeat
    if event.progress != seen:
        a.process.heartbeat = (event.progress, core.now)
    elif core.now - since >= timeout:
        # So far this is a suspicion. A process that was stopped by SIGSTOP is continued, so that it
        # can write its stacks. `Hung` is published only if it ends without an answer.
        a.process.reason = AgentHung(agent=a.name, heartbeat_timeout=timeout)
        core.stop_process(a, StopStage.STACK)


def agent_finished(core: Core, a: Instance, event: ev.AgentFinished) -> None:
    """The agent has finished: it gets no further request, and its process exits soon."""
    a.process.course = Course.FINISHED if a.draining is None else Course.LEAVING


# ---- the verdict


def ask(core: Core, a: Instance) -> None:
    """AWAITING_POLICY: ask the policy; without one, act as if it had answered ESCALATE (seed).

    The policy is not asked about an error of another agent that this one has asked: that agent's
    policy has decided about it.
    """
    assert a.pending is not None
    a.ticket += 1
    if a.supervised and not core.closing and _is_own(a, a.pending.error):
        core.out.append(actions.AskPolicy(a.key, a.name, a.ticket, a.pending.error))
    else:
        policy_answered(core, a, ev.PolicyAnswered(a.key, a.ticket, None))


def _is_own(a: Instance, error: AgentError) -> bool:
    return error.agent is None or error.agent == a.name


def policy_answered(core: Core, a: Instance, event: ev.PolicyAnswered) -> None:
    """Apply the verdict: first the caller gets the error, then the agent's part (N6, N13)."""
    if event.ticket != a.ticket or a.pending is None:
        return
    pending, a.pending = a.pending, None
    error = pending.error
    if event.fault is not None:
        said = text_of(event.fault, repr)
        error.add_note(f"the supervisor policy failed on this error: {said}")
    if pending.request is not None:
        core.resolve(pending.request, _first(pending.answer, error), pending.payload)
    if event.action is SupervisorAction.ESCALATE:
        escalate(core, a, error)
    counted = not (pending.charged and a.settings.charge_requests)
    hopeless = isinstance(error, StartError) and not error.is_retryable
    if event.fault is not None or hopeless:
        verdict = Verdict.STOP
    else:
        finished = a.process.course.leaves and not a.process.alive
        kept = (a.process.alive or finished) and not a.service
        how = ExitKind.FAILED if kept else ExitKind.DIED
        verdict = _verdict(core, a, how, event.action, error, counted=counted)
        if verdict is Verdict.KEEP and finished:
            verdict = _finished(core, a)
    if verdict is Verdict.KEEP and a.process.course is Course.RENEWING and not _has_more(a):
        replace_renewed(core, a)
        return
    _apply(core, a, verdict, _first(event.fault, error), counted=counted)


def _finished(core: Core, a: Instance) -> Verdict:
    """The verdict on a normal exit, about which no policy is asked."""
    return _verdict(core, a, ExitKind.FINISHED, None, _stopped(a, None))


def _verdict(
    core: Core,
    a: Instance,
    how: ExitKind,
    action: SupervisorAction | None,
    error: AgentError,
    *,
    counted: bool = True,
) -> Verdict:
    """Decide; if only the intensity forbids a restart, the group stops (N2).

    Without a policy, the restart type of a service decides: nobody else sees its errors.
    """
    if action is None and a.service and how is ExitKind.DIED:
        action = SupervisorAction.RESTART
    kind, allowed = a.settings.restart, not counted or _allowed(core, a)
    if not allowed and decide(kind, how, action, allowed=True) is Verdict.REPLACE:
        _stop_group(core, a, error, told=action is SupervisorAction.ESCALATE)
    return decide(kind, how, action, allowed=allowed)


def _allowed(core: Core, a: Instance) -> bool:
    return a.limits.allowed and all(window.allows(core.now) for window in tree.windows(a.team))


def _apply(
    core: Core, a: Instance, verdict: Verdict, error: BaseException | None, *, counted: bool = True
) -> None:
    match verdict:
        case Verdict.KEEP:
            if isinstance(error, AgentError) and _is_own(a, error):
                holding.pause_after(core, a, error)
            _go_on(core, a)
        case Verdict.REPLACE:
            asked = error.retry_after if isinstance(error, AgentError) else None
            asked = min(asked or 0.0, holding.longest_wait(a))
            if a.process.alive and _has_more(a):
                a.process.renew()
                a.process.replacement = a.process.replacement or (counted, asked)
                _go_on(core, a)
            else:
                replace(core, a, counted=counted, asked=asked)
        case Verdict.COMPLETE:
            core.end(a, AgentStatus.COMPLETED)
        case Verdict.FAIL:
            assert isinstance(error, AgentError)
            core.end(a, AgentStatus.FAILED, error)
        case Verdict.STOP:  # pragma: no branch: there is no other verdict
            core.end(a, AgentStatus.FAILED, _stopped(a, error))


def _has_more(a: Instance) -> bool:
    """Whether other requests of its process run, or have failed at the same time."""
    return bool(a.process.inflight or a.errors)


def _go_on(core: Core, a: Instance) -> None:
    """The process goes on; first the policy is asked about the next of several errors."""
    while a.errors:
        pending = a.errors.popleft()
        if a.supervised and not core.closing and _is_own(a, pending.error):
            core.ask_policy(a, pending)
            return
        assert pending.request is not None
        core.resolve(pending.request, pending.error, pending.payload)
    if a.process.course is Course.RENEWING and not a.process.inflight:
        replace_renewed(core, a)
    else:
        core.enter(a, Phase.READY)


def _first(fault: BaseException | None, error: AgentError) -> Any:
    """``fault``, else ``error``. Not by ``or``: an error's ``__bool__`` may be code of the user."""
    return error if fault is None else fault


def _stopped(a: Instance, cause: BaseException | None) -> PluginError:
    why = failed_start(cause)
    if cause is None and a.service:
        why = (
            ": it has returned again and again, and is not restarted any more "
            f"(max_restarts = {a.settings.max_restarts})"
        )
    stopped = PluginError("orchestrator", f"agent {a.name!r} stopped by supervisor{why}")
    stopped.__cause__ = cause
    return stopped


def _stop_group(core: Core, a: Instance, error: AgentError, *, told: bool) -> None:
    """Stop a group that exceeds its intensity as a whole, and escalate once (N2).

    Args:
        told: the policy has escalated already.
    """
    full = [window for window in tree.windows(a.team) if not window.allows(core.now)]
    parent = a.team.parent
    for sibling in reversed(parent.children) if parent and parent.window in full else ():
        if sibling is not a.team:
            core.defer(sibling, ev.Stop(sibling.key, sibling.settings.shutdown.grace))
    if full:
        _end_with(core, a, error)
    if full and not told:
        escalate(core, a, error)


def _end_with(core: Core, a: Instance, error: BaseException) -> None:
    """``a`` ends FAILED, and its agent with it: the other instances finish their requests."""
    if len(a.team.members) > 1:
        a.team.final = (AgentStatus.FAILED, _stopped(a, error))
        core.defer(a.team, ev.Stop(a.team.key, a.team.settings.shutdown.grace))


# ---- escalation (N6)


def escalate(core: Core, a: Instance, error: AgentError) -> None:
    """Publish an escalation; ask the parent's policy if it has ``on_child_escalation``."""
    above = list(tree.ancestors(a.team))
    core.tell(a, notices.Escalated, error=error, path=tuple(parent.name for parent in above))
    parent = above[0].spokesman if above else None
    if parent is not None and parent.reconsiders and not core.closing:
        parent.reconsideration += 1
        core.out.append(
            actions.Reconsider(parent.key, parent.name, parent.reconsideration, a.name, error)
        )


def reconsidered(core: Core, a: Instance, event: ev.Reconsidered) -> None:
    """The policy decided about the parent of an escalating child: about all its instances."""
    if event.ticket != a.reconsideration:
        return
    if event.fault is None and event.action is SupervisorAction.ESCALATE:
        escalate(core, a, event.error)
        return
    verdict = Verdict.STOP
    if event.fault is None and event.action is SupervisorAction.RESTART:
        verdict = _verdict(core, a, ExitKind.FAILED, event.action, event.error)
    if verdict is Verdict.REPLACE:
        replace(core, a, counted=True, whole=True)
    else:
        _end_with(core, a, _first(event.fault, event.error))
        core.end(a, AgentStatus.FAILED, _stopped(a, _first(event.fault, event.error)))
