"""Requests as a worker gets them, and what they come to."""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any, Generic

from procorch.messages.content import (
    NO_COST,
    NO_USAGE,
    AgentMessage,
    AssistantMessage,
    Cost,
    StopReason,
    TextBlock,
    ToolCallBlock,
    Usage,
    record,
)

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # of the type checker: nothing is installed for it

    Out = TypeVar("Out", covariant=True, default=Any)
else:
    from typing import TypeVar

    Out = TypeVar("Out", covariant=True)


@record
@dataclass(frozen=True, slots=True)
class AgentRequest:
    """A request as a worker gets it; `deadline` on the monotonic clock, in seconds.

    Example:
        >>> AgentRequest(id=7, messages=["hello"])
        AgentRequest(id=7, messages=['hello'], deadline=None)
    """

    id: int
    messages: Any
    deadline: float | None = None


@record
@dataclass(frozen=True, slots=True)
class RequestMetrics:
    """What one request cost: times in seconds, sizes in bytes.

    `peak_rss` is the highest resident size of the worker meanwhile. What the worker gave back less
    than 0.1 s before the request began may be in it, too.

    Example:
        >>> RequestMetrics(wall=0.25, peak_rss=40 * 2**20).wall
        0.25
    """

    queued: float = 0.0
    wall: float = 0.0
    cpu_user: float = 0.0
    cpu_system: float = 0.0
    peak_rss: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    generation: int = 0
    pid: int = 0
    page_faults: int = 0


def metrics_of(figures: tuple[Any, ...] | None) -> RequestMetrics | None:
    """The metrics of which these are the fields, in their order; None: nothing is known."""
    return None if figures is None else RequestMetrics(*figures)


@dataclass(frozen=True, slots=True)
class AgentResult(Generic[Out]):
    """What a request came to: the new messages, and in `output` whatever the agent returned. With
    `pending` it is paused: these calls wait for `OrchestratedHandle.resume`.

    Example:
        >>> result = AgentResult((AssistantMessage("Rome"),), output="Rome")
        >>> result.text, result.output
        ('Rome', 'Rome')
    """

    messages: Sequence[AgentMessage] = ()
    stop_reason: StopReason = StopReason.STOP
    usage: Usage = NO_USAGE
    cost: Cost = NO_COST
    error: str | None = None
    transfer_signal: Any = None
    output: Out = None  # type: ignore[assignment]  # where nothing is returned, Out is None
    metrics: RequestMetrics | None = None
    pending: Sequence[ToolCallBlock] = ()

    @property
    def text(self) -> str:
        """All that the assistant said (seed, `assistant_text`)."""
        return "".join([m.text for m in self.messages if isinstance(m, AssistantMessage)])


def _pickled_result(result: AgentResult) -> tuple[Any, ...]:
    values = _result_fields(result)
    if not values[8] and all(map(is_, values[1:6], _PLAIN_END)):
        return _plain_result, (values[0], *values[6:8])
    return AgentResult, values


def _plain_result(messages: Any, output: Any, metrics: Any) -> AgentResult:
    return AgentResult(messages, output=output, metrics=metrics)


_result_fields = attrgetter(*AgentResult.__match_args__)
_PLAIN_END = (StopReason.STOP, NO_USAGE, NO_COST, None, None)
copyreg.pickle(AgentResult, _pickled_result)


def to_result(value: Any, metrics: RequestMetrics | None = None) -> AgentResult:
    """What an agent returned, as a result; with what it cost.

    A result stays itself. Text becomes what the assistant said, and the output; an assistant's
    message the only message, with its text as the output. Any other value is the output alone.
    """
    if isinstance(value, AgentResult):
        return value if metrics is None else replace(value, metrics=metrics)
    if isinstance(value, str):
        said = AssistantMessage((TextBlock(value),))
        return AgentResult((said,), output=value, metrics=metrics)
    if isinstance(value, AssistantMessage):
        return AgentResult(
            (value,), value.stop_reason, value.usage, value.cost, value.error,
            output=value.text, metrics=metrics,
        )  # fmt: skip
    return AgentResult(output=value, metrics=metrics)
