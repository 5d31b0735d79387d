"""Which file system a folder is on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system.

    Args:
        kind: such as "ext4", "nfs4", "overlay", "fuse.sshfs".
        place: where it is mounted.
    """

    kind: str
    place: Path


def mount_of(path: Path, table: Path = Path("/proc/self/mountinfo")) -> Mount | None:
    """The file system that a path is on, or would be on if it existed; None: it is not known.

    Args:
        table: where the kernel lists what is mounted.
    """
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    whole = path.resolve()
    found = None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or not kind:
            continue
        place = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        # Of several at one place, the last one hides the others.
        longer = found is None or len(place.parts) >= len(found.place.parts)
        if longer and whole.is_relative_to(place):
            found = Mount(kind[0], place)
    return found
