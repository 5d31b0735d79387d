"""Whether an exception says that a provider's answer could not be read: bad JSON, HTML, no choices.

Libraries say so in exceptions of their own, or trip over it: then it counts where an exception was
raised. Reading an answer is what the modules in `_READERS` do, and the HTTP clients and decoders
that they call. The same exception from an agent's own code, a tool's for example, is no such thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from procorch.errors.texts import text_of

_NAMES = frozenset(
    {"APIResponseValidationError", "ResponseValidationError", "UnknownApiResponseError"}
)
_TEXT = re.compile(
    r"^invalid response from|expected JSON data|^failed to (decode|parse) response|has no choices"
    r"|response ended without|^please return text|empty response|malformed (response|answer|event)"
    r"|^(received )?(an )?(empty|invalid) (model )?(response|completion)",
    re.IGNORECASE,
)
_READERS = (
    "agents.models",
    "anthropic",
    "cohere",
    "google.genai",
    "groq",
    "mistralai",
    "openai",
    "pydantic_ai.models",
    "together",
)
_DECODERS = (
    "_json", "codecs", "encodings", "httpcore", "httpcore2", "httpx", "httpx2", "json", "pydantic",
)  # fmt: skip
_UNDECODABLE = ("JSONDecodeError", "UnicodeDecodeError", "ValidationError")
_NOT_THERE = (AttributeError, LookupError)
_NO_OBJECT = re.compile(r"object is not (subscriptable|iterable)|NoneType|indices must be")


def is_malformed(links: Sequence[BaseException], chain: Sequence[BaseException]) -> bool:
    """Whether that is what an exception means.

    Args:
        links: what of its chain of causes comes from an LLM library.
        chain: all of it.
    """
    return any(_says_so(link) for link in links) or any(_tripped(link) for link in chain)


def _says_so(error: BaseException) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    return not _NAMES.isdisjoint(names) or _TEXT.search(text_of(error)) is not None


def _tripped(error: BaseException) -> bool:
    """Whether a reader of answers fell over what it read."""
    undecodable = type(error).__name__ in _UNDECODABLE
    missing = isinstance(error, _NOT_THERE) or (
        isinstance(error, TypeError) and _NO_OBJECT.search(text_of(error)) is not None
    )
    if not undecodable and not missing:
        return False
    for module in _innermost_first(error):
        if _inside(module, _READERS):
            return True
        if missing or not _inside(module, _DECODERS):
            return False
    return False


def _innermost_first(error: BaseException) -> Iterator[str]:
    """The modules of the frames that an exception has passed."""
    modules, trace = [], error.__traceback__
    while trace is not None:
        modules.append(str(trace.tb_frame.f_globals.get("__name__")))
        trace = trace.tb_next
    return reversed(modules)


def _inside(module: str, packages: Sequence[str]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)
