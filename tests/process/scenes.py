"""What tests of running agents share beyond fixtures: reading events, calling from aside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from procorch import EventStream
from procorch.supervision import notices

PATIENCE = 90.0  # seconds


def until(stream: EventStream, kind: type[notices.Notice], agent: str) -> list[notices.Notice]:
    """The events up to the first of that kind about that agent."""
    seen = []
    for notice in stream:
        seen.append(notice)
        if isinstance(notice, kind) and notice.agent == agent:
            return seen
    raise AssertionError(f"no {kind.__name__} of {agent!r} among {seen}")


def about(kind: type[notices.Notice], seen: Iterable[notices.Notice]) -> list[str]:
    """Whom the events of a kind are about, in order."""
    return [notice.agent for notice in seen if isinstance(notice, kind)]


class Aside:
    """A call on a thread of its own, which a failing test does not wait for."""

    def __init__(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._future: Future[Any] = Future()

        def run() -> None:
            try:
                self._future.set_result(call(*args, **kwargs))
            except BaseException as error:
                self._future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()

    @property
    def done(self) -> bool:
        return self._future.done()

    def result(self) -> Any:
        """What the call returned, or raised."""
        return self._future.result(PATIENCE)
