"""What the caller gets of each item: its output, raising what it failed with, or an `Outcome`."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from procorch.api.handle import Broken
from procorch.errors import AgentError
from procorch.messages import AgentResult, to_result
from procorch.pool.outcome import Failure, Outcome, Success


class Raise(NamedTuple):
    """To be raised when its turn comes."""

    error: BaseException


class Shape(Protocol):
    """Makes of what came back what the caller gets."""

    def one(self, index: int, result: AgentResult) -> Any:
        """Of an item that came alone."""
        ...

    def many(self, index: int, outputs: list[Any], *, simple: bool) -> list[Any]:
        """Of items of a chunk, the first of them at ``index``; ``simple``: text, numbers, None."""
        ...

    def failed(self, index: int, error: AgentError) -> Any:
        """Of an item that failed."""
        ...


class Outputs:
    """The outputs alone; a failure is raised."""

    def one(self, index: int, result: AgentResult) -> Any:
        """See `Shape`."""
        return result.output

    def many(self, index: int, outputs: list[Any], *, simple: bool) -> list[Any]:
        """See `Shape`."""
        return outputs if simple else [self._of(output) for output in outputs]

    def _of(self, output: Any) -> Any:
        return Raise(output.error) if type(output) is Broken else to_result(output).output

    def failed(self, index: int, error: AgentError) -> Any:
        """See `Shape`."""
        return Raise(error)


class Outcomes:
    """An `Outcome` for each; nothing is raised."""

    def one(self, index: int, result: AgentResult) -> Outcome:
        """See `Shape`."""
        return Success(index, True, result.output, None, result)

    def many(self, index: int, outputs: list[Any], *, simple: bool) -> list[Outcome]:
        """See `Shape`."""
        return [self._of(index + n, output) for n, output in enumerate(outputs)]

    def _of(self, index: int, output: Any) -> Outcome:
        if type(output) is Broken:
            return Failure(index, False, None, output.error, None)
        return self.one(index, to_result(output))

    def failed(self, index: int, error: AgentError) -> Outcome:
        """See `Shape`."""
        return Failure(index, False, None, error, None)
