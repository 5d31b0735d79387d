"""What the caller gets of each item: its output or an exception, or an `Outcome`."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from procorch.errors import AgentError
from procorch.futures.chunk import BrokenItem
from procorch.messages import AgentResult, to_result
from procorch.pool.outcome import Failure, Outcome, Success


class ToRaise(NamedTuple):
    """Stands for an item that failed: the error is raised when it is this item's turn."""

    error: BaseException


class ResultFormat(Protocol):
    """Makes what the caller gets of what the workers sent."""

    def result(self, index: int, result: AgentResult) -> Any:
        """The value of an item that was sent alone."""
        ...

    def outputs(self, index: int, outputs: list[Any], *, simple: bool) -> list[Any]:
        """The values of items of a chunk.

        Args:
            index: position of the first of them in the input.
            simple: all outputs are text, bytes, numbers or None.
        """
        ...

    def failure(self, index: int, error: AgentError) -> Any:
        """The value of an item that failed."""
        ...


class AsOutputs:
    """The output of each item; a failure is raised."""

    def result(self, index: int, result: AgentResult) -> Any:
        """See `ResultFormat`."""
        return result.output

    def outputs(self, index: int, outputs: list[Any], *, simple: bool) -> list[Any]:
        """See `ResultFormat`."""
        return outputs if simple else [self._value(output) for output in outputs]

    def _value(self, output: Any) -> Any:
        return ToRaise(output.error) if type(output) is BrokenItem else to_result(output).output

    def failure(self, index: int, error: AgentError) -> Any:
        """See `ResultFormat`."""
        return ToRaise(error)


class AsOutcomes:
    """An `Outcome` for each item; nothing is raised."""

    def result(self, index: int, result: AgentResult) -> Outcome:
        """See `ResultFormat`."""
        return Success(index, True, result.output, None, result)

    def outputs(self, index: int, outputs: list[Any], *, simple: bool) -> list[Outcome]:
        """See `ResultFormat`."""
        return [self._value(index + n, output) for n, output in enumerate(outputs)]

    def _value(self, index: int, output: Any) -> Outcome:
        if type(output) is BrokenItem:
            return Failure(index, False, None, output.error, None)
        return self.result(index, to_result(output))

    def failure(self, index: int, error: AgentError) -> Outcome:
        """See `ResultFormat`."""
        return Failure(index, False, None, error, None)
