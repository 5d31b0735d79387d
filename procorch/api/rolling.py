"""One change of releases: instance by instance, and back again if one of them fails (N19)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeAlias

from procorch.errors import AgentError, AgentStopped, ReloadError
from procorch.runtime import reloads
from procorch.runtime.instance_runtime import InstanceRuntime
from procorch.runtime.monitor import Monitor

Replace: TypeAlias = Literal["start_first", "stop_first"]
"""How an instance gets its new process: beside the old one, or after it."""
Target: TypeAlias = Callable[[str], int | None]
"""The release that an agent goes over to, by its name; None: it stays where it is."""


class RollingChange:
    """One change.

    Args:
        name: the agent; None: all.
        target: the release that an agent goes over to; None: it stays.
        replace: how; None: as it suits each instance.
        limit: seconds in all; None: any time.
    """

    def __init__(
        self, monitor: Monitor, name: str | None, target: Target, replace: Replace | None,
        limit: float | None,
    ) -> None:  # fmt: skip
        self._target = target
        self._monitor = monitor
        self._name = name
        self._replace = replace
        self._until = None if limit is None else time.monotonic() + limit
        self._limit = limit
        self._seen: set[int] = set()
        self._done: list[tuple[InstanceRuntime, int]] = []

    def run(self) -> None:
        """Replace all instances that have not been replaced.

        Raises:
            ReloadError: one could not be replaced, and all are on the release before again.
        """
        while left := [each for each in self._instances() if each.key not in self._seen]:
            self._seen.add(left[0].key)
            try:
                self._one(left[0])
            except BaseException as error:
                self._go_back()
                if isinstance(error, AgentError | TimeoutError):
                    raise self._failed(left[0], error) from error
                raise

    def _instances(self) -> list[InstanceRuntime]:
        return [each for agent in self._monitor.running(self._name) for each in agent.live()]

    def _left(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def _one(self, instance: InstanceRuntime) -> None:
        release = self._target(instance.name)
        if release is None or instance.release == release:
            return  # It stays, or it was added after new instances came from that release.
        if instance.started.exception(self._left()) is not None:
            return  # Its first start has failed, and its caller knows.
        stop_first = instance.checkpoint is not None
        if self._replace is not None:
            stop_first = self._replace == "stop_first"
        before = instance.release
        done = reloads.reload(self._monitor, instance, release, stop_first=stop_first)
        try:
            done.result(self._left())
        except AgentStopped:
            return  # It ends, and not because of the new release.
        except AgentError:
            raise
        except BaseException:
            reloads.give_up(self._monitor, instance)
            if done.exception() is None:  # it was replaced in the last moment
                self._done.append((instance, before))
            raise
        self._done.append((instance, before))

    def _go_back(self) -> None:
        back = [
            reloads.reload(self._monitor, each, before, back=True)
            for each, before in reversed(self._done)
        ]
        for each in back:
            each.exception()

    def _failed(self, instance: InstanceRuntime, error: BaseException) -> ReloadError:
        release = self._target(instance.name)
        why = (
            f"not done within {self._limit:g} s"
            if isinstance(error, TimeoutError) and self._limit is not None
            else str(error)
        )
        return ReloadError(
            f"agent {instance.name!r} (instance {instance.slot}): release {release} was given "
            f"up, the one before serves on: {why}",
            agent=instance.name,
            instance=instance.slot,
            release=release,
            remote_traceback=getattr(error, "remote_traceback", ""),
        )
