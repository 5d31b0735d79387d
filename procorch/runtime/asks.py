"""Questions from agents to agents, on their way through the parent (N16).

The asker's worker waits; its question stands in the asked agent's queue like any request, under
what is left of the asker's time. Bodies pass through sealed. If the asker dies, its questions are
dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from procorch.clock import Clock
from procorch.errors import AgentError, PluginError
from procorch.errors.plain_data import to_plain
from procorch.launch.base import WorkerProcess
from procorch.runtime.cargo import Cargo
from procorch.runtime.instance_runtime import Link
from procorch.runtime.submit import next_number
from procorch.supervision.request import Request
from procorch.supervision.wait_graph import WaitGraph
from procorch.wire import headers, payload
from procorch.wire.frame import Frame, Kind

if TYPE_CHECKING:
    from procorch.futures.outcome import Outcome


class _Relay:
    """Stands where a caller's future stands, and sends the outcome on to the asker."""

    def __init__(self, settled: Callable[[Outcome], None]) -> None:
        self.settle = settled

    def begun(self) -> None:
        """Nobody asks whether a question is under way."""


class _Question(NamedTuple):
    """``request``: what it is to the asked; ``during``: what the asker was busy with."""

    request: int
    during: int


class Switchboard:
    """Puts questions through.

    Args:
        find: the live link of a name.
        name_of: the name of a key, for the text of a refusal.
        accept: hands a request in; ``drop`` takes it back.
        clock: of the deadlines.
    """

    def __init__(
        self,
        find: Callable[[str], Link | None],
        name_of: Callable[[int], str],
        accept: Callable[[Request], None],
        drop: Callable[[int], None],
        clock: Clock,
    ) -> None:
        self._find = find
        self._name_of = name_of
        self._accept = accept
        self._drop = drop
        self._clock = clock
        self._waits = WaitGraph()
        self._open: dict[int, dict[int, _Question]] = {}

    def ask(self, process: WorkerProcess, frame: Frame, during: int) -> None:
        """A worker asks another agent while it is busy with request ``during``."""
        head = headers.decode_ask(frame.head)
        asker, number = process.spec.key, frame.request
        link = self._find(head.name)
        if link is None:
            _refuse(process, number, f"agent {head.name!r} is not running", head.name)
            return
        circle = self._waits.circle(asker, link.key)
        if circle is not None:
            names = " -> ".join(repr(self._name_of(key)) for key in [*circle, asker])
            why = f"agents would wait for each other for ever: {names}"
            _refuse(process, number, why, process.spec.name)
            return
        now, request_id = self._clock.now(), next_number()
        limits = (head.remaining, link.settings.request_timeout)
        timeout = min((limit for limit in limits if limit is not None), default=None)
        relay = _Relay(lambda outcome: self._answer(process, number, request_id, link.key, outcome))
        body, size = payload.again(frame.body), len(frame.body)
        request = Request(
            request_id,
            link.mailbox.key,
            timeout,
            None if timeout is None else now + timeout,
            link.settings.retries,
            link.settings.allowed_failures,
            cargo=Cargo(link.name, link.mailbox, relay, head.text, body, size, now),
        )
        # The asker waits in any case; the monitor, on whose thread this runs, never does.
        link.mailbox.enter(None, wait=False)
        self._waits.add(asker, link.key)
        self._open.setdefault(asker, {})[number] = _Question(request_id, during)
        self._accept(request)

    def _answer(
        self, process: WorkerProcess, number: int, request: int, asked: int, outcome: Outcome
    ) -> None:
        asker = process.spec.key
        question = self._open.get(asker, {}).get(number)
        if question is None or question.request != request:
            return  # The asker died meanwhile; its successor counts its questions anew.
        del self._open[asker][number]
        self._waits.remove(asker, asked)
        if outcome.error is None:
            process.send(Kind.ANSWER, number, b"", payload.again(outcome.body))
        else:
            head = headers.AnswerErrorHead(to_plain(outcome.error))
            body = payload.again(outcome.body) if len(outcome.body) else []
            process.send(Kind.ANSWER_ERROR, number, headers.encode(head), body)

    def forget(self, process: WorkerProcess, number: int) -> None:
        """The asker does not wait any more: the question is cancelled, and that answered."""
        question = self._open.get(process.spec.key, {}).get(number)
        if question is not None:
            self._drop(question.request)

    def cancel(self, asker: int, request: int) -> None:
        """A request of the asker is to end: so are its questions, whichever thread has put them."""
        for question in self._open.get(asker, {}).values():
            if question.during == request:
                self._drop(question.request)

    def process_ended(self, asker: int) -> None:
        """A worker has ended: nobody waits for its questions any more."""
        for question in self._open.pop(asker, {}).values():
            self._drop(question.request)
        self._waits.forget(asker)


def _refuse(process: WorkerProcess, number: int, why: str, agent: str) -> None:
    error: AgentError = PluginError("orchestrator", why, agent=agent)
    head = headers.AnswerErrorHead(to_plain(error))
    process.send(Kind.ANSWER_ERROR, number, headers.encode(head), [])
