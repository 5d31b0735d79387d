"""The path to what cannot be serialised reads as a person would write it."""

from __future__ import annotations

import collections
import socket
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from procorch.errors import SerializationError
from procorch.wire.codec import dump_factory, encode
from procorch.wire.pickle_diagnostics import find_unserialisable

REFUSED = "cannot pickle 'socket' object"


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = a, b


@dataclass
class Data:
    name: str = "x"
    extra: Any = None


@dataclass(frozen=True, slots=True)
class Frozen:
    name: str = "x"
    extra: Any = None


class Named(NamedTuple):
    first: int
    second: Any


class Reduced:
    def __init__(self, part: Any) -> None:
        self.part = part

    def __reduce__(self) -> Any:
        return Reduced, (self.part,)


class Stateful(Plain):
    def __getstate__(self) -> Any:
        return ["something", self.part]  # type: ignore[attr-defined]


class Listed(list[Any]):
    pass


PLACES: dict[str, Callable[[Any], Any]] = {
    "value": lambda s: s,
    "value[1]": lambda s: [1, s],
    "value[0][2]": lambda s: ((1, 2, s),),
    "value['client']": lambda s: {"client": s},
    "value[(1, 'a')].b": lambda s: {(1, "a"): Slotted(1, s)},
    "value.client.deeper": lambda s: Plain(client=Plain(deeper=s)),
    "value.extra": lambda s: Data(extra=s),
    "value.extra.extra": lambda s: Frozen(extra=Frozen(extra=s)),
    "value.second": lambda s: Named(1, s),
    "value[2]": lambda s: collections.deque([1, 2, s]),
    "value['k']": lambda s: collections.defaultdict(list, k=s),
    "value['z']": lambda s: collections.OrderedDict(z=s),
    "value[0]": lambda s: Listed([s]),
    "value constructor argument 0": Reduced,
    "value state[1]": lambda s: Stateful(part=s),
    "value constructor argument 0.args[0]": lambda s: Reduced(Plain(args=[s])),
}


@pytest.mark.parametrize("path", PLACES)
def test_the_path_leads_to_the_culprit(path: str, sock: socket.socket) -> None:
    obj = PLACES[path](sock)
    assert find_unserialisable(obj) == (path, REFUSED)
    with pytest.raises(SerializationError) as caught:
        encode(obj, what="request")
    assert (caught.value.path, caught.value.reason) == (path, REFUSED)
    assert str(caught.value) == f"request: {path}: {REFUSED}"


def test_elements_of_sets_and_keys_are_named(sock: socket.socket) -> None:
    path, reason = find_unserialisable({"a": {1, sock}})
    assert path.startswith("value['a'] element <socket.socket fd=")
    assert reason == REFUSED
    path, _ = find_unserialisable({sock: 1})
    assert path.startswith("value key <socket.socket fd=")


def test_an_exception_is_looked_into(sock: socket.socket) -> None:
    path, _ = find_unserialisable(ValueError("text", sock))
    assert path == "value constructor argument 1"
    error = ValueError("text")
    error.client = sock  # type: ignore[attr-defined]
    assert find_unserialisable(error)[0] == "value.client"


def test_functions_are_looked_into(sock: socket.socket) -> None:
    inner = lambda: sock  # noqa: E731

    def outer() -> Any:
        return inner

    def default(a: int, b: Any = sock) -> None: ...

    def keyword(*, c: Any = sock) -> None: ...

    def plain() -> None: ...

    plain.client = sock  # type: ignore[attr-defined]
    assert find_unserialisable(inner)[0] == "value closure variable 'sock'"
    assert find_unserialisable(outer)[0] == "value closure variable 'inner' closure variable 'sock'"
    assert find_unserialisable(default)[0] == "value default of 'b'"
    assert find_unserialisable(keyword)[0] == "value default of 'c'"
    assert find_unserialisable(plain)[0] == "value.client"
    assert find_unserialisable([Plain(f=inner)])[0] == "value[0].f closure variable 'sock'"


def test_globals_of_a_function_are_looked_into(sock: socket.socket) -> None:
    space: dict[str, Any] = {"__name__": "__main__", "client": {"sock": sock}}
    exec("def agent():\n    return client\ndef factory():\n    return agent\n", space)
    with pytest.raises(SerializationError) as caught:
        dump_factory(space["factory"])
    assert caught.value.path == "factory global 'agent' global 'client'['sock']"
    assert str(caught.value) == f"{caught.value.path}: {REFUSED}"


def test_classes_are_looked_into(sock: socket.socket) -> None:
    class Local:
        client = sock

        def method(self) -> Any:
            return sock

    del Local.client
    assert find_unserialisable(Local())[0] == "value class Local.method closure variable 'sock'"

    class Other:
        client = sock

    assert find_unserialisable([Other])[0] == "value[0].client"

    class Child(Other):
        pass

    assert find_unserialisable(Child, "factory")[0] == "factory base Other.client"


def test_variables_not_assigned_yet_and_cells_are_looked_into(sock: socket.socket) -> None:
    def function() -> Any:
        return later, sock  # noqa: F821

    assert find_unserialisable(function)[0] == "value closure variable 'sock'"
    assert function.__closure__ is not None
    assert find_unserialisable(list(function.__closure__))[0] == "value[1]"
    later = 1
    del later


def test_methods_properties_and_the_like_are_looked_into(sock: socket.socket) -> None:
    class Local:
        @property
        def a(self) -> Any:
            return sock

    class Static:
        @staticmethod
        def b() -> Any:
            return sock

    assert find_unserialisable(Local)[0] == "value.a closure variable 'sock'"
    assert find_unserialisable(Static)[0] == "value.b closure variable 'sock'"
    assert find_unserialisable(Plain(x=sock).__init__)[0] == "value.__self__.x"  # type: ignore[misc]


def test_a_lock_in_a_definition_is_not_the_culprit(sock: socket.socket) -> None:
    class Local:
        lock = threading.Lock()

    instance = Local()
    instance.client = sock  # type: ignore[attr-defined]
    assert find_unserialisable([instance])[0] == "value[0].client"


def test_the_shortest_path_is_told(sock: socket.socket) -> None:
    assert find_unserialisable([[[sock]], [sock], Plain(a=[[[sock]]])])[0] == "value[1][0]"


def test_circles_end(sock: socket.socket) -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    circle.append({"self": circle, "sock": sock})
    assert find_unserialisable(circle)[0] == "value[2]['sock']"
    circle.pop()
    assert find_unserialisable(circle, reason="why") == ("value", "why")


def test_the_work_is_bounded() -> None:
    many = [Plain(a=[index]) for index in range(200_000)]
    many.append(Plain(a=threading.Lock()))
    assert find_unserialisable(many, reason="the lock") == ("value", "the lock")


def test_objects_that_resist_being_looked_at_are_named() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

        def __reduce__(self) -> Any:
            raise ArithmeticError("no")

        def __hash__(self) -> int:
            return 1

    assert find_unserialisable([Hostile()]) == ("value[0]", "ArithmeticError: no")
    assert find_unserialisable({Hostile()}) == ("value element <Hostile>", "ArithmeticError: no")

    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    class Raises:
        def __reduce__(self) -> Any:
            raise Silent

    assert find_unserialisable([Raises()]) == ("value[0]", "Silent")


def test_long_keys_are_cut(sock: socket.socket) -> None:
    path, _ = find_unserialisable({"k" * 500: sock})
    assert path == f"value['{'k' * 36}...]"


def test_a_module_that_cannot_be_imported_is_the_culprit() -> None:
    module = types.ModuleType("made_here")
    path, reason = find_unserialisable({"m": module})
    assert path == "value['m']"
    assert reason == "cannot pickle module 'made_here', which cannot be imported"


def test_a_name_that_nobody_else_has_is_the_culprit() -> None:
    class Sentinel:
        __module__ = "__main__"

        def __reduce__(self) -> str:
            return "MISSING"

    path, reason = find_unserialisable([Sentinel()])
    assert path == "value[0]"
    assert "MISSING" in reason


@dataclass
class Defaulted:
    items: list[Any] = field(default_factory=list)


def test_what_can_be_serialised_has_no_culprit() -> None:
    fine = [Defaulted([1]), Frozen(), Named(1, 2), {"a": {1, 2}}, lambda: 7, Plain]
    assert find_unserialisable(fine) == ("value", "cannot be serialised")


def test_modules_and_builtins_are_passed_over(sock: socket.socket) -> None:
    space: dict[str, Any] = {"__name__": "__main__", "types": types, "sock": sock}
    exec("def function():\n    return len(types.__name__), sock\n", space)
    assert find_unserialisable([types, space["function"]]) == ("value[1] global 'sock'", REFUSED)


def test_a_class_of_the_interpreter_is_not_looked_into(sock: socket.socket) -> None:
    assert find_unserialisable([type(lambda: 1), sock]) == ("value[1]", REFUSED)
