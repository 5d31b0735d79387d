"""The base of orchestrators and pools: ``with`` and ``async with`` close them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from procorch.runtime.lifetime import close_from_task


class ClosedOnExit(ABC):
    """A context manager, synchronous and asynchronous.

    Leaving the block closes it. Accepted requests are finished after a normal end of the block, and
    aborted after an exception.
    """

    @abstractmethod
    def must_be_ours(self) -> None:
        """Raise `AgentStopped` in the child of a fork."""

    @abstractmethod
    def leave(self, kind: type[BaseException] | None) -> bool:
        """At the end of a ``with`` block: return whether there is anything to close.

        Args:
            kind: class of the exception that ends the block; None: a normal end.
        """

    @abstractmethod
    def close(self, *, drain: bool = True, timeout: float = 30.0) -> None:
        """End all agents and wait until no process is left."""

    async def aclose(self, *, drain: bool = True, timeout: float = 30.0) -> None:
        """Like `close`, without blocking the event loop; a cancellation aborts the requests."""
        self.must_be_ours()
        await close_from_task(self.close, drain=drain, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        if self.leave(kind):
            self.close(drain=kind is None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        if self.leave(kind):
            await self.aclose(drain=kind is None)
