"""What the control socket may ask of the daemon. `core.Core` is the implementation.

All methods may be called from any thread, block until they are done, and return plain data that
JSON can hold. Names are exact: `names.select` has resolved globs and groups before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

Plain: TypeAlias = dict[str, Any]
"""Data of dict, list, str, int, float, bool and None."""


class Rows(Protocol):
    """An iterator of events or lines that another thread can end: a client that goes away."""

    def __iter__(self) -> Iterator[Plain]: ...

    def __next__(self) -> Plain: ...

    def close(self) -> None:
        """End it, from any thread and more than once: a thread that waits for the next row gets
        StopIteration at once."""
        ...


class CorePort(Protocol):
    """The daemon, seen from its socket.

    Every method that takes names raises `UnknownAgent` (with the nearest name) for one that is not
    there.
    """

    def names(self) -> Mapping[str, str | None]:
        """All agents in the order of the file, each with its group."""
        ...

    def status(self, names: Sequence[str]) -> Plain:
        """``{"daemon": {...}, "agents": [...]}`` (docs/reference/daemon-commands.md)."""
        ...

    def describe(self, name: str) -> Plain:
        """Everything about one agent: its row of `status`, its configuration without secrets, its
        last exits and events."""
        ...

    def start(self, names: Sequence[str], timeout: float | None) -> list[Plain]:
        """Start those that do not run, and wait until they are ready. A row each: ``{"name",
        "result": "started" | "running" | "failed", "error": text or None}``."""
        ...

    def stop(self, names: Sequence[str], timeout: float | None) -> list[Plain]:
        """Stop them; they stay stopped until `start` or `reload`. Rows as for `start`."""
        ...

    def restart(self, names: Sequence[str], timeout: float | None) -> list[Plain]:
        """Replace their processes one by one, each after its request; start those that do not run.
        After ``timeout`` seconds (None: no limit) the rest stays as it is."""
        ...

    def reset(self, names: Sequence[str]) -> list[Plain]:
        """Start those that ended FAILED again, without the restarts that were counted."""
        ...

    def pause(self, names: Sequence[str]) -> list[Plain]:
        """Begin no more of their requests; requests wait."""
        ...

    def resume(self, names: Sequence[str]) -> list[Plain]:
        """Undo `pause`."""
        ...

    def scale(self, counts: Mapping[str, int], timeout: float | None) -> list[Plain]:
        """Change numbers of instances."""
        ...

    def reload(self, *, names: Sequence[str], dry_run: bool, timeout: float | None) -> Plain:
        """Read the file again and apply it: ``{"release", "changes": [{"name", "change", "keys"}],
        "text": [lines], "applied": bool}``.

        Args:
            names: agents that are replaced even if nothing of theirs has changed.

        Raises:
            ConfigErrors: the file is invalid; nothing was touched.
            ReloadError: a new process did not start; the old release serves on.
        """
        ...

    def rollback(self, timeout: float | None) -> Plain:
        """Return to the release before the last reload: ``{"names", "release"}``.

        Raises:
            NoRelease: there is none.
        """
        ...

    def send(
        self,
        name: str,
        message: Any,
        *,
        timeout: float | None,
        began: Callable[[int], None],
        piece: Callable[[str], None] | None,
    ) -> Plain:
        """Send a request and wait: ``{"id", "state": "done" | "failed", "text", "output", "error",
        "metrics", "usage", "cost"}``.

        ``error`` is what `errors.plain_data.to_plain` makes of it; ``metrics``, ``usage`` and
        ``cost`` have the fields of `procorch.messages`. Each is None where there is none.

        Args:
            message: text, which is sent as a user message, or plain data, which is sent as it is.
            timeout: seconds; None: the agent's own.
            began: is told the id of the request, for `cancel`.
            piece: is given the answer while it comes, and may block; None: it is not streamed.
        """
        ...

    def cancel(self, request: int) -> bool:
        """Cancel a request that was sent by `send`; False: there is none of that id."""
        ...

    def stack(self, name: str) -> list[Plain]:
        """The stacks of its processes now: ``{"instance", "pid", "stack"}`` each."""
        ...

    def events(self, names: Sequence[str], *, follow: bool, last: int, since: float | None) -> Rows:
        """Events from the history, oldest first; with ``follow`` also those to come."""
        ...

    def logs(
        self, names: Sequence[str], *, follow: bool, last: int | None, since: float | None
    ) -> Rows:
        """Lines of output: ``{"time", "agent", "instance", "generation", "request", "stream",
        "text"}`` each, oldest first; with ``follow`` also those to come."""
        ...

    def rotate(self) -> list[str]:
        """Rotate all log files now; returns the new names."""
        ...

    def wait_ready(self, names: Sequence[str], timeout: float | None) -> Plain:
        """Wait until all are ready (None: no limit): ``{"ready": bool, "waiting": [names]}``."""
        ...

    def disk(self) -> Plain:
        """Bytes of the daemon's folder by kind, and their limits."""
        ...

    def prune(self) -> Plain:
        """Remove what is older or more than the limits say, now: bytes by kind."""
        ...

    def shutdown(self, timeout: float | None) -> None:
        """Begin the end of the daemon; returns at once. ``timeout``: seconds to drain; None: the
        ``drain_timeout`` of the file."""
        ...
