"""What is called, and with which arguments.

What was named is a *factory*, which returns an agent, or a *plain function*, which is measured
itself. What it returns tells: a callable, an object with ``prompt`` or ``handle``, or an agent of
procorch makes it a factory. A function that needs arguments which nobody has given by name cannot
be a factory.
"""

from __future__ import annotations

import marshal
import sys
from types import BuiltinFunctionType, FunctionType, MethodType

from .loading import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PLAIN = (FunctionType, MethodType, BuiltinFunctionType)
_IMMUTABLE = (type(None), bool, int, float, complex, str, bytes)
_LIBRARIES = ("procorch", "pydantic_ai", "agents")


class Argument:
    """What one request is called with; each call gets a copy of its own.

    Args:
        positional, keywords: the arguments.
        load: makes them anew, so that a call which changes its argument changes no other call.
    """

    __slots__ = ("_load", "keywords", "positional", "shared", "single")

    def __init__(self, load: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]) -> None:
        self.positional: tuple[Any, ...]
        self.keywords: dict[str, Any]
        self.positional, self.keywords = load()
        self._load = load
        self.single: bool = len(self.positional) == 1 and not self.keywords
        self.shared: bool = all(map(_is_immutable, (*self.positional, *self.keywords.values())))

    def fresh(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments that no call has seen."""
        return (self.positional, self.keywords) if self.shared else self._load()


class Program:
    """What is measured.

    Args:
        found: the factory or function.
        params: values of parameters, by name.
        kind: "factory" or "function"; "": find out, which may cost a call.
        agent: name of the agent.
    """

    def __init__(self, found: Any, params: dict[str, Any], kind: str, agent: str) -> None:
        self.note: str = ""
        self.kind: str = kind
        self.call: Any = None
        self._agent: Any = None
        self._unbound = dict(params)
        names, required = parameters(found)
        bound = {name: self._unbound.pop(name) for name in params if name in names}
        if kind == "function" or (not kind and required - set(bound)):
            self._measure_itself(found, names, required, bound)
            return
        if required - set(bound):
            needed = ", ".join(sorted(required - set(bound)))
            raise Refused(f"a factory is called without arguments, and this one needs {needed}")
        product = found(**bound)
        if not _is_agent(product):
            if kind:
                raise Refused(f"the factory returned {_kind_of(product)}, which is no agent")
            if not required:  # it looks like a factory
                self.note = f"it is measured itself: it returned no agent, but {_kind_of(product)}"
            self._measure_itself(found, names, required, bound)
            return
        self.kind = "factory"
        self.call = self._handler_of(product, agent)
        self._names, self._required = parameters(self.call)
        self._bound: dict[str, Any] = {}

    def _measure_itself(
        self, found: Any, names: list[str], required: set[str], bound: dict[str, Any]
    ) -> None:
        self.kind, self.call = "function", found
        self._names, self._required, self._bound = names, required, bound

    def _handler_of(self, product: Any, agent: str) -> Any:
        if isinstance(product, _PLAIN):
            return product
        try:
            from procorch.agents.agent import as_agent
        except ImportError:
            for name in ("prompt", "handle", "__call__"):
                if callable(getattr(product, name, None)):
                    return getattr(product, name)
            raise
        self._agent = as_agent(product)
        return self._agent.responder

    def ready(self) -> Any:
        """What the agent's own `ready()` returned."""
        return None if self._agent is None else self._agent.ready()

    def close(self) -> Any:
        """What the agent's own `close()` returned."""
        return None if self._agent is None else self._agent.close()

    def arguments(self, requests: list[Callable[[], Any]], given: bool) -> list[Argument]:
        """What each request is called with.

        Args:
            requests: each makes its request anew.
            given: they were given; False: there is one, None, for want of another.

        Raises:
            Refused: they do not fit.
        """
        if self.kind == "factory":
            if not self._unbound:
                return list(map(_single, requests))
            if given:
                raise self._nowhere(next(iter(self._unbound)))
            values = dict(self._unbound)
            if len(values) == 1 and list(values) == self._names:
                (value,) = values.values()
                return [Argument(lambda: ((value,), {}))]
            return [Argument(lambda: ((dict(values),), {}))]
        if self._unbound:
            raise self._nowhere(next(iter(self._unbound)))
        missing = self._required - set(self._bound)
        if not given:
            if missing:
                raise Refused(
                    f"it needs {', '.join(sorted(missing))}: give a request (-r VALUE) or a "
                    f"parameter (-P {min(missing)}=VALUE)"
                )
            return [self._argument(lambda: ((), {}))]
        return [self._argument(self._spread(load)) for load in requests]

    def _argument(self, load: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]) -> Argument:
        bound = self._bound
        if len(bound) == 1 and list(bound) == self._names[:1]:
            (value,) = bound.values()  # as `f(value)`, which is the fastest way to call it

            def first() -> tuple[tuple[Any, ...], dict[str, Any]]:
                positional, keywords = load()
                return ((value, *positional), keywords)

            return Argument(first)

        def named() -> tuple[tuple[Any, ...], dict[str, Any]]:
            positional, keywords = load()
            return positional, {**bound, **keywords}

        return Argument(named if bound else load)

    def _spread(self, load: Callable[[], Any]) -> Callable[[], Any]:
        """A function of one argument gets the request; one of several a list of them, or an object
        with their names. An object with the names of all that is needed is spread in any case."""
        request = load()
        free = [name for name in self._names if name not in self._bound]
        needed = self._required - set(self._bound)
        if type(request) is dict and request and needed <= set(request) <= set(free):
            return lambda: ((), load())
        if len(needed) <= 1 and free:
            return lambda: ((load(),), {})
        if type(request) in (list, tuple) and len(needed) <= len(request) <= len(free):
            return lambda: (tuple(load()), {})
        if not free:
            raise Refused("it takes no arguments, and so no request")
        names = ", ".join(free)
        raise Refused(f"it needs {names}: a request is a list of them, or an object")

    def _nowhere(self, name: str) -> Refused:
        return Refused(
            f"the parameter {name!r} is used nowhere: write {{{name}}} into the request, or give "
            "the function or factory a parameter of that name"
        )


def _single(load: Callable[[], Any]) -> Argument:
    return Argument(lambda: ((load(),), {}))


def parameters(function: Any) -> tuple[list[str], set[str]]:
    """The names of a callable's parameters in order, and those that have no default."""
    plain = function.__func__ if isinstance(function, MethodType) else function
    if not isinstance(plain, FunctionType) or hasattr(plain, "__wrapped__"):
        return _by_inspection(function)
    code = plain.__code__
    positional = list(code.co_varnames[: code.co_argcount])
    only = list(code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
    required = set(positional[: len(positional) - len(plain.__defaults__ or ())])
    required |= set(only) - set(plain.__kwdefaults__ or ())
    names = positional + only
    if plain is not function and positional:
        names, required = names[1:], required - {positional[0]}
    return names, required


def _by_inspection(function: Any) -> tuple[list[str], set[str]]:
    import inspect

    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions of C do not tell
        return ["value"], {"value"}
    kept = [each for each in found if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return [each.name for each in kept], {each.name for each in kept if each.default is each.empty}


def loader(kind: str, data: bytes) -> Callable[[], Any]:
    """What makes a request anew: "plain" ones are `marshal`'s, others procorch's codec's."""
    if kind == "plain":
        return lambda: marshal.loads(data)
    from procorch.wire import codec

    return lambda: codec.decode(bytearray(data), what="request")


def _is_immutable(value: Any) -> bool:
    return type(value) in _IMMUTABLE or (type(value) is tuple and all(map(_is_immutable, value)))


def _is_agent(product: Any) -> bool:
    roots = {cls.__module__.partition(".")[0] for cls in type(product).__mro__}
    methods = (getattr(product, name, None) for name in ("prompt", "handle"))
    known = any(root in roots and root in sys.modules for root in _LIBRARIES)
    return callable(product) or known or any(map(callable, methods))


def _kind_of(value: Any) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
