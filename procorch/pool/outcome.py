"""The outcome of one item of a pool: a success or a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias

from procorch.errors import AgentError
from procorch.messages import AgentResult, Out

if TYPE_CHECKING:

    @dataclass(frozen=True, slots=True)
    class Success(Generic[Out]):
        """An item that succeeded."""

        index: int
        ok: Literal[True]
        output: Out
        error: None
        result: AgentResult[Out]

    @dataclass(frozen=True, slots=True)
    class Failure:
        """An item that failed."""

        index: int
        ok: Literal[False]
        output: None
        error: AgentError
        result: None

    Outcome: TypeAlias = Success[Out] | Failure
    """The outcome of one item: ``outcome.error is None`` tells type checkers which of the two."""

else:
    # A class, so that `isinstance` works and what version 0.1 has pickled loads.

    @dataclass(frozen=True, slots=True)
    class Outcome:
        """The outcome of one item: a `Success` or a `Failure`.

        Args:
            index: position of the item in the input, from 0.
            ok: whether it succeeded.
            output: what the agent returned; None where it failed.
            error: why it failed; None where it succeeded.
            result: the whole result with its metrics; None where it failed. An item that was sent
                with others (``chunksize``) has no metrics of its own.

        Example:
            >>> def worker():
            ...     return lambda number: 10 // number
            >>> with AgentPool(worker, workers=1) as pool:
            ...     for outcome in pool.imap([5, 0], outcomes=True):
            ...         print(outcome.index, outcome.output, type(outcome.error).__name__)
            0 2 NoneType
            1 None AgentFailure
        """

        index: int
        ok: bool
        output: Any = None
        error: AgentError | None = None
        result: AgentResult | None = None

    class Success(Outcome, Generic[Out]):
        """An item that succeeded; see `Outcome`.

        Example:
            >>> Success(index=0, ok=True, output=4).output
            4
        """

        __slots__ = ()

    class Failure(Outcome):
        """An item that failed; see `Outcome`.

        Example:
            >>> outcome = Failure(index=0, ok=False, error=AgentCrashed(exitcode=-9))
            >>> outcome.error.signal
            'SIGKILL'
        """

        __slots__ = ()
