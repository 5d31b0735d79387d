"""What scripts have in their globals besides functions and classes, used in a worker."""

import abc
import asyncio
import collections
import contextvars
import enum
import functools
import itertools
import logging
import operator
import random
import re
import subprocess
import sys
import threading
import types
import typing
import weakref
from os import path

import pytest

from procorch.errors import SerializationError
from procorch.wire.codec import dump_factory
from tests.wire.peer import Worker

pattern = re.compile("a+")
logger = logging.getLogger(__name__)
with_default = contextvars.ContextVar("with_default", default=7)
without_default = contextvars.ContextVar("without_default")
local = threading.local()
asyncio_lock = asyncio.Lock()
condition = threading.Condition()
event = threading.Event()
counter = itertools.count(5)
generator = random.Random(1)
getter = operator.attrgetter("real")
weak = weakref.WeakValueDictionary()
default = collections.defaultdict(lambda: 5)
proxy = types.MappingProxyType({"a": 1})
space = types.SimpleNamespace(x=1)
say = print
stream = sys.stdout
code = compile("1 + 1", "<code>", "eval")
view = {"a": 1}.keys()
hints = (
    typing.Annotated[list[int], 1],
    int | str,
    typing.Callable[[int], str],
    typing.Literal["a"],
)
others = (slice(1, 2), ..., NotImplemented, range(4), 1j, bytearray(b"x"), type(None), type(len))
UserId = typing.NewType("UserId", int)
P = typing.ParamSpec("P")
Bound = typing.TypeVar("Bound", bound=int)
Either = typing.TypeVar("Either", int, str)


@functools.singledispatch
def by_type(_: object) -> str:
    return "object"


@by_type.register
def _(_: int) -> str:
    return "int"


REGISTRY = {}


def register(cls):
    REGISTRY[cls.__name__] = cls
    return cls


@register
class First:
    pass


@register
class Second(First):
    friends = (First,)

    def __init__(self):
        super().__init__()
        self.known = REGISTRY["Second"] is Second


class Descriptor:
    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner):
        return self.name


class Described:
    field = Descriptor()


class Labelled(enum.Enum):
    ONE = (1, "one")
    TWO = (2, "two")

    def __new__(cls, value, label):
        member = object.__new__(cls)
        member._value_ = value
        member.label = label
        return member


class Numbered(enum.Enum):
    X = enum.auto()
    Y = enum.auto()
    ALIAS = X


class Slots:
    __slots__ = ("__dict__", "__private", "__weakref__", "a")

    def __init__(self):
        self.a, self.b, self.__private = 1, 2, 3

    def private(self):
        return self.__private


class MoreSlots(Slots):
    __slots__ = ("c",)


class Methods:
    partial = functools.partialmethod(lambda self, number: number, 4)

    @functools.singledispatchmethod
    def dispatched(self, _):
        return "object"

    @dispatched.register
    def _(self, _: int):
        return "int"

    @functools.lru_cache  # noqa: B019
    def cached(self, number):
        return number + 1


class Abstract(abc.ABC):
    @property
    @abc.abstractmethod
    def wanted(self): ...


@Abstract.register
class Virtual:
    pass


class Loud:
    """Its __init_subclass__ looks at attributes, and there are two layouts to choose from."""

    __slots__ = ()

    def __init_subclass__(cls):
        assert cls.attribute == 1


class Error(ValueError, Loud):
    attribute = 1


def misspelt(text: "not an annotation at all!"):  # noqa: F722
    return text


def assigned_later():
    def inner():
        return later

    if not inner:
        later = 1
    return inner


async def asynchronous():
    async def numbers():
        yield 1

    async with asyncio_lock:
        return [number async for number in numbers()]


def everything() -> dict:
    with condition:
        event.set()
    local.x = 1
    logger.debug("x")
    with pytest.raises(LookupError):
        without_default.get()
    return {
        "by_type": (by_type(1), by_type("x")),
        "registry": Second().known,
        "descriptor": Described().field,
        "labelled": (Labelled.ONE.label, Labelled(2).name),
        "numbered": (Numbered.ALIAS is Numbered.X, Numbered.Y.value),
        "slots": (Slots().private(), MoreSlots().b),
        "methods": (Methods().dispatched(1), Methods().partial(), Methods().cached(1)),
        "virtual": issubclass(Virtual, Abstract),
        "error": str(Error("x")),
        "pattern": bool(pattern.match("aa")),
        "contextvar": with_default.get(),
        "counter": next(counter),
        "random": type(generator.random()),
        "getter": getter(4),
        "defaults": (default["z"], proxy["a"], space.x, len(weak), sorted(view)),
        "names": (say.__name__, path.join("a", "b"), stream is sys.stdout, eval(code)),
        "hints": [str(hint) for hint in hints],
        "user_id": UserId(4),
        "asynchronous": asyncio.run(asynchronous()),
        "misspelt": misspelt("x"),
    }


def agent(message):
    function, *arguments = message
    return function(*arguments)


def main():
    expected = everything()
    expected["counter"] = 6
    with Worker(lambda: agent) as worker:
        assert worker.ask([everything]) == expected
        echo = worker.ask([lambda: lambda thing: thing])
        for thing in (Labelled.ONE, Numbered.Y, UserId, P, Bound, Either, by_type, hints):
            assert worker.ask([echo, thing]) == thing
        for thing in (Described(), MoreSlots(), Second(), Error("x")):
            assert type(worker.ask([echo, thing])) is type(thing)
        assert worker.ask([echo, MoreSlots()]).private() == 3
        same = worker.ask([lambda: others])
        assert (same[1:4], same[6:]) == (others[1:4], others[6:])
        assert worker.ask([lambda: others[5]]) == others[5]
        with pytest.raises(NameError):
            worker.ask([echo, assigned_later()])()
        cell = assigned_later().__closure__[0]
        assert type(worker.ask([echo, cell])) is types.CellType
        held = (lambda: expected).__closure__[0]
        assert worker.ask([echo, held]).cell_contents == expected
        assert worker.ask([echo, sys.modules["__main__"]]) is sys.modules["__main__"]

    for refused in (threading.Thread(), subprocess.Popen([sys.executable, "-c", ""])):
        name = type(refused).__name__
        with pytest.raises(SerializationError, match=f"'refused': cannot pickle '{name}' object"):
            dump_factory(lambda refused=refused: refused)
    refused.wait()


if __name__ == "__main__":
    main()
