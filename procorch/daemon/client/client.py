"""Programs that talk to a daemon: `procorch.connect` gives a client, which gives handles.

Each call has a connection of its own, so a client may be used from any thread; closing the
connection cancels what the daemon does for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Self, TypeVar

from procorch.daemon.client.dialog import Dialog
from procorch.daemon.client.handles import RemoteHandle, Sender
from procorch.daemon.client.pieces import Items, Row
from procorch.daemon.client.places import daemon_folder
from procorch.daemon.client.remote import value_as
from procorch.units import seconds

_T = TypeVar("_T")


def connect(
    dir: str | os.PathLike[str] | None = None, *, timeout: float | str = 5.0
) -> DaemonClient:
    """A client of the daemon of a folder.

    Args:
        dir: the folder with its configuration, the configuration file, or the daemon's own folder;
            default: what ``PROCORCH_DIR`` says, or the first folder with a procorch.toml from the
            current one upwards.
        timeout: seconds within which the daemon has to answer; what is waited for (a start, a
            request of an agent) has limits of its own.

    Raises:
        NoDaemon: no daemon runs there.
        DaemonUnresponsive: there is one, and it does not answer.
        AccessRefused: it is that of another user.

    Example:
        >>> daemon = connect("/srv/agents")
        >>> daemon.handle("greeter").send_message("hello").text
    """
    client = DaemonClient(daemon_folder(dir), seconds(timeout, "timeout"))
    client.ping()
    return client


class DaemonClient:
    """A daemon, from outside; `connect` makes one.

    Names are names of agents, globs (``web-*``) or members of a group (``workers:*``); none: all
    agents. Timeouts are seconds, or text such as ``"30s"``; None: no limit. All methods raise
    `DaemonError` (`NoDaemon` when the daemon has ended meanwhile), and `UnknownAgent` for a name
    that is not there.

    Args:
        folder: that of the daemon.
        timeout: seconds within which it has to answer.

    Example:
        >>> with connect("/srv/agents") as daemon:
        ...     print(daemon.names())
        ...     daemon.restart("greeter", timeout="30s")
    """

    def __init__(self, folder: Path, timeout: float = 5.0) -> None:
        self.folder: Path = folder
        self.timeout: float = timeout
        self._sender = Sender(folder, timeout)

    # What there is.

    def ping(self) -> Row:
        """The ``version`` of procorch that the daemon runs, and its ``pid``."""
        dialog = Dialog(self.folder, self.timeout)
        dialog.close()
        return {"version": dialog.hello.version, "pid": dialog.hello.pid}

    def names(self) -> dict[str, str | None]:
        """All agents, each with its group."""
        return self._ask(dict[str, str | None], "names")

    def status(self, *names: str) -> Row:
        """How the daemon and its agents are."""
        return self._ask(Row, "status", names=names)

    def describe(self, name: str) -> Row:
        """Everything about one agent."""
        return self._ask(Row, "describe", name=name)

    def stack(self, name: str) -> list[Row]:
        """Where the code of an agent is now, by process."""
        return self._ask(list[Row], "stack", name=name)

    def disk(self) -> Row:
        """What the daemon's folder takes up."""
        return self._wait(Row, "disk", None)

    def events(
        self, *names: str, follow: bool = False, last: int = 100, since: float | None = None
    ) -> Items:
        """Events, oldest first.

        Args:
            follow: go on with those to come.
            last: so many of the past.
            since: only those after this time, in seconds since 1970.
        """
        return self._items("events", names=names, follow=follow, last=last, since=since)

    def logs(
        self,
        *names: str,
        follow: bool = False,
        last: int | None = None,
        since: float | None = None,
    ) -> Items:
        """Lines of output, oldest first; as for `events`. ``last``: None means all."""
        return self._items("logs", names=names, follow=follow, last=last, since=since)

    # What it can do with agents.

    def start(self, *names: str, timeout: float | str | None = None) -> list[Row]:
        """Start those that do not run, and wait until they are ready; a row for each."""
        return self._wait(list[Row], "start", timeout, names=names)

    def stop(self, *names: str, timeout: float | str | None = None) -> list[Row]:
        """Stop them; they stay stopped until `start` or `reload`."""
        return self._wait(list[Row], "stop", timeout, names=names)

    def restart(self, *names: str, timeout: float | str | None = None) -> list[Row]:
        """Replace their processes one by one."""
        return self._wait(list[Row], "restart", timeout, names=names)

    def reset(self, *names: str) -> list[Row]:
        """Start those that have failed again, their restarts not counted."""
        return self._wait(list[Row], "reset", None, names=names)

    def pause(self, *names: str) -> list[Row]:
        """Begin no more of their requests."""
        return self._ask(list[Row], "pause", names=names)

    def resume(self, *names: str) -> list[Row]:
        """Undo `pause`."""
        return self._ask(list[Row], "resume", names=names)

    def scale(self, counts: Mapping[str, int], *, timeout: float | str | None = None) -> list[Row]:
        """Change numbers of instances, by name."""
        return self._wait(list[Row], "scale", timeout, counts=dict(counts))

    def wait_ready(self, *names: str, timeout: float | str | None = None) -> Row:
        """Wait until all are ready: ``{"ready": bool, "waiting": [names]}``."""
        return self._wait(Row, "wait_ready", timeout, names=names)

    # What it can do as a whole.

    def reload(self, *names: str, dry_run: bool = False, timeout: float | str | None = None) -> Row:
        """Read the configuration again and apply what has changed.

        Args:
            names: agents that are replaced even if nothing of theirs has changed; none: none.
            dry_run: only tell what has changed.
            timeout: see the class.

        Raises:
            ReloadError: a new process did not start; the old release serves on.
        """
        return self._wait(Row, "reload", timeout, names=names, dry_run=dry_run)

    def rollback(self, *, timeout: float | str | None = None) -> Row:
        """Return to the release before the last reload."""
        return self._wait(Row, "rollback", timeout)

    def rotate(self) -> list[str]:
        """Rotate all log files now."""
        return self._wait(list[str], "rotate", None)

    def prune(self) -> Row:
        """Remove what is beyond the limits of logs and history now."""
        return self._wait(Row, "prune", None)

    def shutdown(self, *, timeout: float | str | None = None) -> None:
        """Begin the end of the daemon, which first finishes what runs; returns at once.

        Args:
            timeout: seconds to finish; default: the ``drain_timeout`` of its configuration.
        """
        self._ask(
            NoneType, "shutdown", timeout=None if timeout is None else seconds(timeout, "timeout")
        )

    # Requests.

    def handle(self, name: str) -> RemoteHandle:
        """The agent of that name; it is looked for when something is sent to it."""
        return RemoteHandle(self._sender, name)

    def send(
        self,
        name: str,
        message: Any,
        *,
        timeout: float | str | None = None,
        began: Callable[[int], object] | None = None,
    ) -> Row:
        """Send a request and wait; the row of the daemon, also where the request failed.

        Args:
            name: an agent.
            message: text, or data that JSON can hold.
            timeout: for the request; None: the agent's own.
            began: is told the number of the request.
        """
        return self._sender.send(name, message, timeout, began)

    def cancel(self, request: int) -> bool:
        """Cancel the request of that number; False: there is none."""
        return self._ask(bool, "cancel", request=request)

    def close(self) -> None:
        """Wait for requests that were submitted, and end the threads that send them."""
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # How it is done.

    def _ask(self, kind: type[_T], verb: str, **args: Any) -> _T:
        return self._value(kind, verb, args, self.timeout)

    def _wait(self, kind: type[_T], verb: str, timeout: float | str | None, **args: Any) -> _T:
        """Ask for something that takes as long as ``timeout`` says."""
        if timeout is None:
            return self._value(kind, verb, args, None)
        limit = seconds(timeout, "timeout")
        return self._value(kind, verb, args | {"timeout": limit}, limit + self.timeout)

    def _value(self, kind: type[_T], verb: str, args: Row, limit: float | None) -> _T:
        dialog = Dialog(self.folder, self.timeout)
        return value_as(kind, [line.value for line in dialog.request(verb, args, limit)][-1])

    def _items(self, verb: str, **args: Any) -> Items:
        return Items(Dialog(self.folder, self.timeout), verb, args)
