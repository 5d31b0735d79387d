"""Where agents run: on a Ray cluster, and on which."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from procorch.errors import ClusterError
from procorch.errors.texts import did_you_mean
from procorch.units import seconds

_INSTALL = "pip install 'procorch[ray]'"
_OLDEST = (2, 50)
"""The oldest version of Ray whose actors can be kept away from nodes by their ids."""

_SHORTEST = 0.5
"""Seconds of the shortest lease: a busy machine does not answer within less."""


@dataclass(frozen=True, slots=True)
class RayBackend:
    """Agents run on the nodes of a Ray cluster (docs/how-to/cluster.md).

    Args:
        address: the cluster, as ``"host:port"`` of its head; ``"auto"``: that of this machine;
            ``"local"``: a cluster of this machine alone, which starts and ends with the
            orchestrator. None: the variable ``RAY_ADDRESS``, else ``"auto"``.
        lease: seconds after which a node ends an agent whose orchestrator does not answer. A node
            that does not answer counts as lost a moment later, and its agents are replaced.
        runtime_env: how code gets to the nodes, as in ``ray.init``, such as
            ``{"working_dir": "."}``; None: it is installed there.
        spread: place agents that have no ``placement`` on different nodes; False: pack them.

    Raises:
        ValueError: a lease below 0.5 s, or an address of another kind.
        TypeError: a value of a wrong type.

    Example:
        >>> orch = AgentOrchestrator(backend=RayBackend("10.0.0.1:6379", lease=10))
    """

    address: str | None = None
    lease: float | str = 4.0
    runtime_env: Mapping[str, Any] | None = field(default=None, hash=False)
    spread: bool = False

    def __post_init__(self) -> None:
        lease = seconds(self.lease, "lease")
        if lease < _SHORTEST:
            raise ValueError(f"lease must be {_SHORTEST:g} s or more, not {lease:g} s")
        object.__setattr__(self, "lease", lease)
        if self.address is not None:
            _check_address(self.address)
        if not isinstance(self.spread, bool):
            raise TypeError(f"spread must be True or False, not {self.spread!r}")
        if self.runtime_env is not None:
            if not isinstance(self.runtime_env, Mapping):
                kind = type(self.runtime_env).__name__
                raise TypeError(f"runtime_env must be a mapping as for ray.init, not {kind}")
            try:
                msgspec.msgpack.encode(dict(self.runtime_env))
            except (TypeError, msgspec.MsgspecError) as error:
                raise TypeError(f"runtime_env must be plain data: {error}") from None

    @property
    def lease_seconds(self) -> float:
        """``lease`` in seconds."""
        return seconds(self.lease, "lease")

    @property
    def target(self) -> str:
        """The address that is used."""
        return self.address or os.environ.get("RAY_ADDRESS") or "auto"


def _check_address(address: object) -> None:
    if not isinstance(address, str):
        raise TypeError(f"address must be text, not {type(address).__name__}")
    if address in ("auto", "local") or re.fullmatch(r"[^\s:/]+:\d+|\[[0-9a-fA-F:]+\]:\d+", address):
        return
    hint = ""
    if address.startswith("ray://"):
        hint = "; the program runs on a machine of the cluster's network and is no Ray client"
    raise ValueError(f"address={address!r}: 'host:port', 'auto' or 'local' was expected{hint}")


def backend_of(given: str | RayBackend | None) -> RayBackend | None:
    """The backend that ``backend=`` means; None: this machine.

    Args:
        given: "ray", "ray:ADDRESS", a `RayBackend`, or None.

    Raises:
        ValueError: there is no such backend.
        TypeError: it is something else.
        ClusterError: Ray is not installed, or its version is too old.
    """
    if given is None:
        return None
    if isinstance(given, RayBackend):
        backend = given
    elif not isinstance(given, str):
        kind = type(given).__name__
        raise TypeError(f'backend must be "ray", "ray:ADDRESS" or a RayBackend, not {kind}')
    else:
        name, _, address = given.partition(":")
        if name != "ray":
            raise ValueError(f"backend={given!r}{did_you_mean(given, ['ray'], listed='known')}")
        backend = RayBackend(address or None)
    _check_installed()
    return backend


def _check_installed() -> None:
    if importlib.util.find_spec("ray") is None:
        raise ClusterError(
            f"backend='ray' needs Ray, which is not installed: {_INSTALL}",
            reason="missing",
            permanent=True,
        )
    from importlib import metadata  # it takes longer to import than all else here

    found = metadata.version("ray")
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if numbers < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise ClusterError(
            f"backend='ray' needs Ray {oldest} or newer, not {found}: {_INSTALL}",
            reason="version",
            permanent=True,
        )
