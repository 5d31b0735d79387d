"""Keys and passwords in what exceptions say: they go to logs, journals and other people.

Libraries quote what they were given: a header that is not valid, the URL of a request, the line of
the source that made a client. What looks like a credential is replaced, and so is the value of each
variable of the environment whose name says that it is one.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from functools import cache
from time import monotonic

HIDDEN = "***"
_NAME = (
    r"(?:[\w-]*(?:api|access|secret|private|subscription)[-_ ]?key(?:[-_ ]id)?|[\w-]*authorization"
    r"|[\w-]*(?:access|auth|refresh|id|bearer|session)[-_]?token|(?:x-)?auth[-_]token"
    r"|client[-_]?secret|passw(?:or)?d)"
)
_BEGINS = (
    "sk-", "sk_", "rk_", "pk-", "gsk_", "hf_", "xai-", "pplx-", "r8_", "ghp_", "gho_", "ghu_",
    "ghs_", "ghr_", "github_pat_", "xoxa-", "xoxb-", "xoxp-", "AIza", "AKIA", "ASIA", "eyJ",
)  # fmt: skip
"""How keys of well-known services begin, and tokens that are JSON."""
_SIGNS = (
    "key", "token", "secret", "passw", "bearer", "basic", "authorization", "header value", "://",
    "sig",
)  # fmt: skip
"""Without any of these in small letters, none of the patterns is found."""
_VARIABLE = re.compile(r"(?:KEY|KEY_ID|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)
_known: list[str] = []
_count, _read_at = -1, -math.inf
_SHORTEST = 8
"""Characters that the value of a variable has at least: a shorter one may be any word."""


@cache
def patterns() -> tuple[re.Pattern[str], Sequence[tuple[re.Pattern[str], str]]]:
    """The shapes of keys, and what is found by its surroundings, each with what takes its place.

    They are made when they are first needed: many programs start, and few have an error to tell.
    """
    shapes = re.compile(rf"\b(?:{'|'.join(_BEGINS)})(?=[\w-]*\d)[\w-]{{8,}}(?:\.[\w-]{{8,}})*")
    return shapes, tuple(
        (re.compile(pattern, re.IGNORECASE), f"\\1{HIDDEN}")
        for pattern in (
            # a header that a client refuses to send, as h11, http.client and requests quote it
            r"(header value:? b?(?P<q>['\"])).*?(?=(?P=q))",
            # authorization: Bearer xyz
            r"(\b(?:bearer|basic)\s+)(?=[^\s'\"]*[\d_\-.=+/])[^\s'\"\\,;)]{4,}",
            # "api_key": "xyz", api_key='xyz', (b'x-api-key', b'xyz')
            rf"({_NAME}['\"]?\s*[:=,]\s*b?(?P<q>['\"])(?:bearer |basic )?)[^'\"]+(?=(?P=q))",
            # api_key=xyz1, x-api-key: xyz1; a name of Python's has rarely a digit in it
            rf"({_NAME}\s*[:=]\s*(?:bearer |basic )?)(?=[^\s'\"]*\d)[^\s'\"&,;)}}\]]{{6,}}",
            r"(api key(?: provided)?:\s*)[^\s'\",]+",
            r"([?&](?:key|api_?key|token|access_token|sig|signature)=)[^&\s'\"]+",
            r"(://[^/\s:@'\"]*:)[^/\s@'\"]+(?=@)",
        )
    )


def redact(text: str) -> str:
    """The text with ``***`` in place of what looks like a credential."""
    for value in _of_environment():
        text = text.replace(value, HIDDEN)
    if any(begin in text for begin in _BEGINS):
        text = patterns()[0].sub(HIDDEN, text)
    small = text.lower()
    if any(sign in small for sign in _SIGNS):
        for pattern, hidden in patterns()[1]:
            text = pattern.sub(hidden, text)
    return text


def is_secret_name(variable: str) -> bool:
    """Whether the name of a variable says that its value is a credential."""
    return _VARIABLE.search(variable) is not None


def _of_environment() -> list[str]:
    """The values of such variables. There may be many: they are read anew at most once a second,
    and where one has come or gone."""
    global _count, _known, _read_at
    now, count = monotonic(), len(os.environ)
    if count != _count or now >= _read_at + 1.0:
        named = (os.environ.get(name, "") for name in os.environ if is_secret_name(name))
        values = {value.strip() for value in named}
        # The longest first: one may be the beginning of another.
        _known = sorted((it for it in values if len(it) >= _SHORTEST), key=len, reverse=True)
        _count, _read_at = count, now
    return _known
