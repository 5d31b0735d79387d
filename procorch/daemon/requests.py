"""Requests that come over the control socket: sent, waited for, cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from procorch.agents import json_form
from procorch.api.handle import OrchestratedHandle
from procorch.errors import AgentError
from procorch.errors.plain_data import to_plain
from procorch.futures.reply import ReplyFuture
from procorch.messages import AgentResult


class Requests:
    """The requests that clients of the daemon wait for.

    Args:
        mask: hides secrets in the texts of errors.
    """

    def __init__(self, mask: Callable[[str], str]) -> None:
        self._mask = mask
        self._open: dict[int, ReplyFuture] = {}
        self._lock = threading.Lock()

    def send(
        self,
        handle: OrchestratedHandle,
        message: Any,
        *,
        raw: bool,
        timeout: float | None,
        began: Callable[[int], None],
        piece: Callable[[str], None] | None,
    ) -> dict[str, Any]:
        """Send a request and wait for its outcome; see `CorePort.send`.

        Args:
            raw: text is delivered as it is, and not as the message of a user.
        """
        try:
            future = self._submit(
                handle, message, raw=raw, timeout=timeout, stream=piece is not None
            )
        except AgentError as error:  # not serialisable, too large, the agent has ended
            return self.failed(None, error)
        number = future.request
        with self._lock:
            self._open[number] = future
        try:
            began(number)
            if piece is not None:
                for text in future:  # type: ignore[attr-defined]
                    piece(text)
            return self._done(number, future.result())
        except AgentError as error:
            return self.failed(number, error)
        except BaseException:
            future.cancel()
            raise
        finally:
            with self._lock:
                del self._open[number]

    @staticmethod
    def _submit(
        handle: OrchestratedHandle, message: Any, *, raw: bool, timeout: float | None, stream: bool
    ) -> ReplyFuture:
        if stream:
            return handle.stream(message, timeout=timeout)
        if raw:
            return handle.deliver(message, timeout=timeout)
        return handle.submit(message, timeout=timeout)

    def cancel(self, number: int) -> bool:
        """Cancel a request; False: nobody waits for one of that number."""
        with self._lock:
            future = self._open.get(number)
        if future is None:
            return False
        future.cancel()
        return True

    def _done(self, number: int, result: AgentResult) -> dict[str, Any]:
        usage, cost = result.usage, result.cost
        return {
            "id": number, "state": "done", "text": json_form.text(result.text),
            "output": json_form.plain(result.output), "error": None,
            "metrics": json_form.plain(result.metrics),
            "usage": json_form.plain(usage) if usage.total else None,
            "cost": json_form.plain(cost) if cost.total else None,
        }  # fmt: skip

    def failed(self, number: int | None, error: AgentError) -> dict[str, Any]:
        """The row of a request that has failed; ``number``: None if it was never sent."""
        return {
            "id": number, "state": "failed", "text": "", "output": None,
            "error": _masked(to_plain(error), self._mask),
            "metrics": None, "usage": None, "cost": None,
        }  # fmt: skip


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    """Plain data with its secrets hidden."""
    if isinstance(value, str):
        return mask(json_form.text(value))
    if isinstance(value, dict):
        return {key: _masked(each, mask) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each, mask) for each in value]
    return value
