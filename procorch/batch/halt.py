"""The halt policy: when a batch ends before all items are done."""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

_FORM = re.compile(r"^(now|soon),(fail|success|done)=(\d+)(%?)$")
_FEW = 3
"""Items that must be counted before a percentage is applied: of few items it means nothing."""


class Halt(Struct, frozen=True):
    """End the batch when so many items have failed, succeeded, or are done.

    Args:
        how: "soon" finishes what has begun, "now" ends it.
        what: which items are counted.
        count: how many, or how many percent of the items that are done.
        percent: ``count`` is a percentage.
    """

    how: Literal["now", "soon"]
    what: Literal["fail", "success", "done"]
    count: int
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Halt | None:
        """Parse ``never``, ``soon,fail=3`` or ``now,fail=10%`` (the form that GNU parallel uses).

        Raises:
            ValueError: the text has another form.
        """
        if text == "never":
            return None
        found = _FORM.match(text.replace(" ", ""))
        if found is None or int(found[3]) == 0 or (found[4] and int(found[3]) > 100):
            raise ValueError(
                f"halt: {text!r} is not a policy; write 'never', 'soon,fail=3', 'now,fail=10%' "
                "(soon or now; fail, success or done)"
            )
        return cls(found[1], found[2], int(found[3]), bool(found[4]))  # type: ignore[arg-type]

    @property
    def now(self) -> bool:
        """Whether items under way are cancelled, too."""
        return self.how == "now"

    def reached(self, ok: int, failed: int) -> bool:
        """Whether the batch is to end after this many items have succeeded and failed."""
        counted = {"fail": failed, "success": ok, "done": ok + failed}[self.what]
        if not self.percent:
            return counted >= self.count
        return counted >= _FEW and counted * 100 >= self.count * (ok + failed)

    def __str__(self) -> str:
        return f"{self.how},{self.what}={self.count}{'%' if self.percent else ''}"
