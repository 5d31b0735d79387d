"""What a launcher is told to start, and where its code comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from procorch.launch.cgroup import Cgroup


class Code(Struct, frozen=True, eq=False):
    """Where a worker's code comes from (N19).

    Args:
        release: the number of its release. What a launcher has loaded for one release is not used
            for another one.
        imports: an object with a method ``load`` that imports the modules of the factory, pickled;
            b"": the worker imports what it needs.
        env: variables that the modules see in their environment.
        cwd: the working folder in which they are imported; None: that of this program.
        sys_path: where they are looked for.
    """

    release: int = 1
    imports: bytes = b""
    env: tuple[tuple[str, str], ...] = ()
    cwd: str | None = None
    sys_path: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Code) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def _compared(self) -> tuple[object, ...]:
        # Not the path, which says only where they are looked for.
        return self.release, self.imports, self.env, self.cwd


class Spec(Struct, frozen=True):
    """What to start: instance ``key`` in its ``generation``, and the first frame for it.

    ``capture``: capture its standard output, as its standard error is in any case. Otherwise it
    inherits the standard output of this program. ``cgroup``: the worker enters it by
    itself, and it ends with the worker. ``memory_limit``: bytes that it may hold; None: any amount.
    ``resources`` and ``placement``: see `supervision.keywords.Settings`; for launchers that are
    remote.
    """

    key: int
    generation: int
    name: str
    init_head: bytes
    factory: bytes
    capture: bool = False
    code: Code = field(default_factory=Code)
    cgroup: Cgroup | None = None
    memory_limit: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    placement: Literal["spread", "pack"] | None = None

    def __repr__(self) -> str:
        return f"<generation {self.generation} of instance {self.key}, {self.name!r}>"
