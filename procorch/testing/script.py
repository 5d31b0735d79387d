"""Agents that do as a test has written down."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from procorch.testing.fake_worker import die, hang, sleep


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer with ``value``.

    Example:
        >>> Reply("Rome").value
        'Rome'
    """

    value: Any = None


@dataclass(frozen=True, slots=True)
class Raise:
    """Fail with ``error``.

    Example:
        >>> Raise(ValueError("no digits")).error
        ValueError('no digits')
    """

    error: BaseException


@dataclass(frozen=True, slots=True)
class Die:
    """Be killed by a signal in the middle of the request.

    Example:
        >>> Die("SIGSEGV").signal
        'SIGSEGV'
    """

    signal: str = "SIGKILL"


@dataclass(frozen=True, slots=True)
class Exit:
    """Exit with a code in the middle of the request.

    Example:
        >>> Exit(7).code
        7
    """

    code: int = 1


@dataclass(frozen=True, slots=True)
class Hang:
    """Do nothing until the end: see `procorch.testing.hang` for ``until``.

    Example:
        >>> Hang(until="SIGKILL").until
        'SIGKILL'
    """

    until: str = "cancel"


@dataclass(frozen=True, slots=True)
class Delay:
    """Let ``seconds`` pass, then go on with the next step of the script.

    Example:
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("slow", ScriptedAgent([Delay(60), "done"]))
        ...     print(orch.spawn("slow").send_message("hello").text, orch.clock.now())
        done 60.0
    """

    seconds: float


Step = Reply | Raise | Die | Exit | Hang | Delay
_STEPS = (Reply, Raise, Die, Exit, Hang, Delay)


class ScriptedAgent:
    """A factory whose agent takes the steps of a script, one a request.

    The script goes on over restarts: the worker that comes after a death takes the step after it.
    The script and what it has seen stay in the test, so it needs the fake launcher.

    Args:
        steps: see the steps above; of anything else, a function is called with the request, and
            any other value is the reply.
        starts: the same for the starts of its workers, one step each (None: ready at once); what
            is started after the last of them is ready at once.
        repeat: begin again after the last step; else a further request fails.

    Attributes:
        requests: what it was sent, in order, tries of the same request included.
        started: how many workers have been started.

    Raises:
        LookupError: by a request after the last step, as the cause of its `AgentFailure`.

    Example:
        >>> script = ScriptedAgent(["first", Raise(ValueError("no")), Reply("third")])
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("solver", script)
        ...     agent = orch.spawn("solver")
        ...     print(agent.send_message("hello").text)
        ...     print(type(agent.submit("hello").exception()).__name__)
        first
        AgentFailure
    """

    def __init__(
        self, steps: Iterable[Any] = (), *, starts: Sequence[Any] = (), repeat: bool = False
    ) -> None:
        self.requests: list[Any] = []
        self.started: int = 0
        written = list(steps)
        self._count = len(written)
        self._steps = itertools.cycle(written) if repeat else iter(written)
        self._starts = iter(starts)
        self._number = next(_numbers)
        _scripts[self._number] = self

    def __call__(self) -> Callable[[Any], Any]:
        """The factory, in the worker."""
        self.started += 1
        step = next(self._starts, None)
        while isinstance(step, Delay):
            sleep(step.seconds)
            step = next(self._starts, None)
        if step is not None:
            _take(step, None)
        return self._handle

    def _handle(self, request: Any) -> Any:
        self.requests.append(request)
        for step in self._steps:
            if not isinstance(step, Delay):
                return _take(step, request)
            sleep(step.seconds)
        raise LookupError(f"the script has no step left, after {self._count}, for {request!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _found, (self._number,)


def _take(step: Any, request: Any) -> Any:
    match step:
        case Reply(value):
            return value
        case Raise(error):
            raise error
        case Die(signal):
            die(signal)
        case Exit(code):
            die(code)
        case Hang(until):
            hang(until)
        case _:
            return step(request) if callable(step) else step
    return None


# Kept for good: the factory that an orchestrator has is a number alone, and a test may well hand
# over its only reference.
_scripts: dict[int, ScriptedAgent] = {}
_numbers = itertools.count(1)


def _found(number: int) -> ScriptedAgent:
    script = _scripts.get(number)
    if script is None:
        raise LookupError("a ScriptedAgent lives in the process of its test: use FakeLauncher")
    return script
