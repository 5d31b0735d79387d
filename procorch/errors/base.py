"""The base of all errors, and the one that stands for an exception of other code.

A class is its docstring and its figures: the annotated attributes are the keyword-only arguments of
its constructor, the way a dataclass reads, and the defaults on the class keep an error usable whose
constructor never ran. That matters because errors are rebuilt without calling a constructor at all
(a user's subclass may have any): by pickle and copy (`copying`), and from plain data (`plain_data`)
for the wire.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar, TypeVar, dataclass_transform

from procorch.errors.copying import blank, fill, pack, parts_of, restore
from procorch.errors.foreign import ask, notes_of, traceback_of, wait_of
from procorch.errors.texts import original, qualified_name, text_of

_Class = TypeVar("_Class", bound="type[AgentError]")
TREE: dict[str, type[AgentError]] = {}
"""The classes that cross the wire, by name."""
_NO_FIGURES = ("message", "_figures")
_TRANSIENT = (ConnectionError, TimeoutError)
_REMOTE = "remote traceback:\n"


def _first(*, default: str, kw_only: bool) -> str:
    return default


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(_first,))
def known(cls: _Class) -> _Class:
    """Enter a class into the tree, under its public name: tracebacks and pickles have that one."""
    cls.__module__ = __package__
    TREE[cls.__name__] = cls
    return cls


@known
class AgentError(Exception):
    """Base of everything procorch raises about an agent.

    `message` is the text; without one the class words it from its figures. The text names `agent`.
    `retryable` is what the supervisor's policy looks at (`is_retryable`), `retry_after` the seconds
    a throttled service asked for, `remote_traceback` the text of the worker's traceback.
    `may_have_executed`: a worker had begun the request that failed, in any of its attempts; False
    means that it is safe to send it again. `usage` and `cost` are a `Usage` and a `Cost` of
    `procorch.messages`: what the request has used up of a model before it failed; None where
    nothing is known.

    Example:
        >>> error = AgentError("the licence server is down", agent="solver", retryable=True)
        >>> print(error)
        agent 'solver': the licence server is down
        >>> error.is_retryable
        True
    """

    message: str = _first(default="", kw_only=False)
    agent: str | None = None
    retryable: bool = False
    retry_after: float | None = None
    remote_traceback: str = ""
    may_have_executed: bool = False
    usage: ClassVar[Any] = None
    cost: ClassVar[Any] = None

    _figures: ClassVar[dict[str, str]] = {  # name to annotation
        "agent": "str | None",
        "retryable": "bool",
        "retry_after": "float | None",
        "remote_traceback": "str",
        "may_have_executed": "bool",
    }
    _says = ""
    _has_place = True  # its traceback says something

    def __init_subclass__(cls) -> None:
        """Collect the figures, inherited ones first; those of users' classes, too."""
        super().__init_subclass__()
        own = vars(cls).get("__annotations__", {})
        cls._figures = cls._figures | {n: kind for n, kind in own.items() if n not in _NO_FIGURES}

    def __init__(self, message: str = "", **figures: Any) -> None:
        super().__init__(*((message,) if message else ()))
        self.message = message
        for name, value in figures.items():
            if name not in self._figures:
                raise TypeError(f"{type(self).__name__}() has no argument {name!r}")
            setattr(self, name, value)
        self._settle()

    def _settle(self) -> None:
        """Derive figures from others, once they are set."""

    @property
    def is_retryable(self) -> bool:
        """Whether a fresh agent may do better with the same request."""
        return self.retryable

    def _describe(self) -> str:
        return self._says or type(self).__name__

    def _who(self) -> str:
        return f"agent '{self.agent}'" if self.agent else "agent"

    def __str__(self) -> str:
        text = super().__str__() or self._describe()
        if not self.agent or f"'{self.agent}'" in text:
            return text
        return f"{self._who()}: {text}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        parts = parts_of(self)
        parts["cause"] = pack(self.__cause__, AgentError, _stand_in)
        return blank, (type(self),), parts, None, None, restore

    def __copy__(self) -> AgentError:
        return fill(blank(type(self)), parts_of(self)).with_traceback(self.__traceback__)

    def __deepcopy__(self, memo: dict[int, Any]) -> AgentError:
        from copy import deepcopy

        memo[id(self)] = twin = blank(type(self))
        parts = parts_of(self)
        for name, part in parts.items():
            # Foreign exceptions are shared: many cannot be built again from their own args.
            if isinstance(part, AgentError) or not isinstance(part, BaseException):
                parts[name] = deepcopy(part, memo)
        return fill(twin, parts)


@known
class AgentFailure(AgentError):
    """An exception of the agent's own code.

    `exc_type` is its qualified name, `exc_str` its text; the original is the `__cause__` where it
    is at hand.

    Example:
        >>> error = AgentFailure(agent="solver", exc_type="ValueError", exc_str="no digits")
        >>> print(error)
        agent 'solver' failed: ValueError: no digits
    """

    exc_type: str = ""
    exc_str: str = ""

    def _describe(self) -> str:
        return f"{self._who()} failed{original(self.exc_type, self.exc_str)}"


def describe_failure(error: BaseException, *, agent: str | None = None) -> AgentError:
    """Any exception as one of ours, with the formatted traceback in `remote_traceback`.

    One of ours stays the same object, with `agent` filled in. Another one becomes an `AgentFailure`
    with the original as its cause; it is retryable where the original says so (`is_retryable`, an
    attribute or a method) or, where it says nothing, is a `ConnectionError` or `TimeoutError`.
    """
    if isinstance(error, AgentError):
        trace = traceback_of(error) if error._has_place else ""
        with suppress(AttributeError):  # a subclass may have made them read-only
            object.__setattr__(error, "agent", error.agent or agent)
            object.__setattr__(error, "remote_traceback", error.remote_traceback or trace)
        return error
    failure = _describe_foreign(error, agent)
    failure.__cause__ = error
    return failure


def _describe_foreign(error: BaseException, agent: str | None) -> AgentFailure:
    says = ask(error, "is_retryable")
    failure = AgentFailure(
        agent=agent,
        exc_type=qualified_name(type(error)),
        exc_str=text_of(error),
        remote_traceback=traceback_of(error),
        retryable=says if isinstance(says, bool) else isinstance(error, _TRANSIENT),
        retry_after=wait_of(error),
    )
    for note in notes_of(error):
        failure.add_note(note)
    return failure


def _stand_in(error: BaseException) -> AgentFailure:
    """What a pickle has for a cause that is no error of ours, in case that cause does not load."""
    failure = _describe_foreign(error, None)
    note_remote_traceback(failure)
    return failure


def note_remote_traceback(error: AgentError) -> None:
    """Add the remote traceback as a note, so that an uncaught error shows where it came from."""
    if error.remote_traceback and not any(n.startswith(_REMOTE) for n in notes_of(error)):
        error.add_note(_REMOTE + error.remote_traceback)
