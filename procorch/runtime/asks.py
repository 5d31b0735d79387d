"""Questions from agents to agents, which pass through the parent (N16).

The worker of the asker waits. Its question is queued for the other agent like any request, with the
asker's remaining time as its timeout. The parent does not open the bodies. If the asker dies, its
questions are cancelled. During a reload an instance has two processes (N19), each of which numbers
its questions from 1, so they are kept by process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from procorch.errors import AgentError, PluginError, TakesNoRequests
from procorch.errors.plain_data import to_plain
from procorch.launch.base import WorkerProcess
from procorch.runtime.cargo import Cargo
from procorch.runtime.ports import AgentPort
from procorch.runtime.submit import next_number
from procorch.supervision.request import Request
from procorch.supervision.wait_graph import WaitGraph
from procorch.wire import headers, payload, used
from procorch.wire.frame import Frame, Kind

if TYPE_CHECKING:
    from procorch.futures.outcome import ReplyOutcome


class _Relay:
    """Takes the place of a caller's future, and sends the outcome to the asker."""

    def __init__(self, settled: Callable[[ReplyOutcome], None]) -> None:
        self.settle = settled

        self.started = False  # required by `Receiver`; not used for questions


class _Question(NamedTuple):
    """``request``: its number for the agent that is asked; ``asked``: the number of that agent;
    ``during``: the asker's own request."""

    request: int
    asked: int
    during: int


class QuestionRelay:
    """Passes questions and answers on.

    Args:
        agents: finds the agent that is asked, and accepts the request.
    """

    def __init__(self, agents: AgentPort) -> None:
        self._agents = agents
        self._waits = WaitGraph(agents.members)
        self._open: dict[WorkerProcess, dict[int, _Question]] = {}
        self._origins: dict[int, tuple[int, int]] = {}

    def ask(self, process: WorkerProcess, frame: Frame, during: int) -> None:
        """A worker asks another agent while it works on request ``during``."""
        head = headers.decode_ask(frame.head)
        asker, number = process.spec.key, frame.request
        agent = self._agents.find(head.name)
        if agent is None:
            _refuse(process, number, f"agent {head.name!r} is not running", head.name)
            return
        if agent.service:
            _fail(process, number, TakesNoRequests(agent=head.name))
            return
        circle = self._waits.circle(asker, agent.number)
        if circle is not None:
            names = " -> ".join(repr(self._agents.name_of(key)) for key in [*circle, asker])
            why = f"agents would wait for each other for ever: {names}"
            _refuse(process, number, why, process.spec.name)
            return
        now, request_id = self._agents.clock.now(), next_number()
        limits = (head.remaining, agent.settings.request_timeout)
        timeout = min((limit for limit in limits if limit is not None), default=None)
        relay = _Relay(lambda outcome: self._answer(process, number, request_id, outcome))
        body, size = payload.again(frame.body), len(frame.body)
        request = Request(
            request_id,
            agent.number,
            timeout,
            None if timeout is None else now + timeout,
            agent.settings.retries,
            agent.settings.allowed_failures,
            cargo=Cargo(
                agent.name, agent.mailbox, relay, head.text, body, size, now, trace=head.trace
            ),
        )
        # The asker waits for the answer. This thread, the monitor's, must not wait for a place.
        agent.mailbox.enter_beyond()
        self._waits.add(asker, agent.number)
        during = head.during or during
        question = _Question(request_id, agent.number, during)
        self._open.setdefault(process, {})[number] = question
        self._origins[request_id] = asker, during
        self._agents.submit(request)

    def _answer(
        self, process: WorkerProcess, number: int, request: int, outcome: ReplyOutcome
    ) -> None:
        self._origins.pop(request, None)
        question = self._open.get(process, {}).pop(number, None)
        if question is None:
            return  # The asker died meanwhile.
        self._waits.remove(process.spec.key, question.asked)
        if outcome.error is None:
            process.send(Kind.ANSWER, number, b"", payload.again(outcome.body))
        else:
            head = headers.AnswerErrorHead(used.with_error(outcome.error))
            body = payload.again(outcome.body) if len(outcome.body) else []
            process.send(Kind.ANSWER_ERROR, number, headers.encode(head), body)

    def origins(self, request: int) -> Iterator[tuple[int, int]]:
        """The request during which another one was asked, and so on: its agent's key and number."""
        while (origin := self._origins.get(request)) is not None:
            yield origin
            request = origin[1]

    def forget(self, process: WorkerProcess, number: int) -> None:
        """The asker does not wait any more: cancel the question; the cancellation is its answer."""
        question = self._open.get(process, {}).get(number)
        if question is not None:
            self._agents.drop(question.request)

    def cancel(self, process: WorkerProcess, request: int) -> None:
        """A request of the asker is cancelled: cancel all questions asked during it."""
        for question in self._open.get(process, {}).values():
            if question.during == request:
                self._agents.drop(question.request)

    def process_ended(self, process: WorkerProcess) -> None:
        """A worker has ended: cancel its questions."""
        for question in self._open.pop(process, {}).values():
            self._waits.remove(process.spec.key, question.asked)
            self._agents.drop(question.request)


def _refuse(process: WorkerProcess, number: int, why: str, agent: str) -> None:
    _fail(process, number, PluginError("orchestrator", why, agent=agent))


def _fail(process: WorkerProcess, number: int, error: AgentError) -> None:
    head = headers.AnswerErrorHead(to_plain(error))
    process.send(Kind.ANSWER_ERROR, number, headers.encode(head), [])
