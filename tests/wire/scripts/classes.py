"""Classes of a script: each keeps its behaviour in a worker, and its identity on the way back."""

from __future__ import annotations

import abc
import collections
import dataclasses
import enum
import functools
import threading
import typing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypedDict, TypeVar

from tests.wire.peer import Worker

T = TypeVar("T")


@dataclass
class Task:
    name: str
    tags: list[str] = field(default_factory=list)
    lock = threading.Lock()

    def shout(self) -> str:
        with self.lock:
            return loud(self.name)


@dataclass(frozen=True, slots=True)
class Node:
    value: int
    next: Node | None = None


class Color(enum.Enum):
    RED = 1
    BLUE = "b"

    def loud(self) -> str:
        return loud(self.name)

    @classmethod
    def _missing_(cls, value: object) -> Color:
        return cls.RED


class Planet(enum.Enum):
    EARTH = (5, 6)

    def __init__(self, mass: int, radius: int) -> None:
        self.mass = mass
        self.radius = radius


class Permission(enum.IntFlag):
    READ = 4
    WRITE = 2


class Word(str, enum.Enum):  # noqa: UP042 - the old way is to work too
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: int = 5


Pair = collections.namedtuple("Pair", "first second")


class Box(Generic[T]):
    def __init__(self, content: T) -> None:
        self.content = content


class Plugin(abc.ABC):
    known: ClassVar[list[str]] = []

    def __init_subclass__(cls, *, kind: str, **options: Any) -> None:
        super().__init_subclass__(**options)
        Plugin.known.append(f"{kind} {cls.__name__}")

    @abc.abstractmethod
    def run(self) -> str: ...


class Reader(Plugin, kind="good"):
    def run(self) -> str:
        return f"{super().run()} {self.cached} {self.twice('r')} {self.make().name}"

    @functools.cached_property
    def cached(self) -> int:
        return 42

    @staticmethod
    def twice(text: str) -> str:
        return loud(text) * 2

    @classmethod
    def make(cls) -> Reader:
        return cls()

    @property
    def name(self) -> str:
        return __class__.__name__  # type: ignore[name-defined]


class Demanding(type):
    def __new__(cls, name: str, bases: Any, namespace: Any, **options: Any) -> Any:
        if not options:
            raise TypeError("options are needed")
        return super().__new__(cls, name, bases, namespace)

    def __init__(cls, name: str, bases: Any, namespace: Any, **options: Any) -> None:
        super().__init__(name, bases, namespace)


class Demanded(metaclass=Demanding, option=1):
    pass


class Movie(TypedDict):
    title: str


class Quacks(Protocol):
    def quack(self) -> str: ...


class Wrong(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code

    def __reduce__(self) -> Any:
        return Wrong, (self.code, "again")


class Outer:
    class Inner:
        pass


def loud(text: str) -> str:
    return text.upper()


def tool(task: Task, where: Point) -> Node: ...


class Agent:
    """One method for each question; the parent asks by name."""

    def __call__(self, message: tuple[str, Any]) -> Any:
        question, content = message
        return getattr(self, question)(content)

    def echo(self, content: Any) -> Any:
        return content

    def call(self, function: Any) -> Any:
        return function()

    def names_of_its_types(self, content: Any) -> list[str]:
        mine = (Task, Node, Color, Point, Reader, Box, Demanded, Outer.Inner, Wrong)
        return [cls.__name__ for cls in mine if isinstance(content, cls)]

    def enumerations(self, _: None) -> Any:
        same = Color("b"), Planet.EARTH, Permission.READ | Permission.WRITE, Word.YES
        return Color.RED.loud(), Color(99).name, Planet.EARTH.radius, Word.YES + "!", same

    def plugin(self, _: None) -> Any:
        try:
            Plugin()  # type: ignore[abstract]
        except TypeError as error:
            return Reader().run(), Plugin.known, str(error)

    def tuples(self, _: None) -> Any:
        return Point(1), Pair(1, 2), Movie(title="x"), Box[int](3)

    def hints(self, _: None) -> Any:
        return typing.get_type_hints(tool), typing.get_type_hints(Node)

    def dataclass(self, _: None) -> Any:
        names = [each.name for each in dataclasses.fields(Task)]
        return names, dataclasses.replace(Node(1), value=2), dataclasses.asdict(Task("x"))

    def fail(self, _: None) -> Any:
        return Wrong(3, "first")

    def local_class(self, _: None) -> Any:
        class Local:
            pass

        return Local


def main() -> None:
    class Local:
        def __init__(self, value: int) -> None:
            self.value = value

        def itself(self) -> Any:
            return __class__, Local  # type: ignore[name-defined]

    with Worker(Agent) as worker:
        ask = worker.ask
        assert not worker.needed_dill

        inner, node, wrong = Outer.Inner(), Node(1, Node(2)), Wrong(1, "one")
        for mine in (Task("x"), node, Color.RED, Point(1), Reader(), Box(1), inner, wrong):
            back = ask(("echo", mine))
            assert type(back) is type(mine), back
            assert ask(("names_of_its_types", mine)) == [type(mine).__name__]
        assert ask(("echo", [node, node])) == [node, node]
        for mine in (Task, Color, Point, Reader, Demanded, Outer.Inner, Quacks, T, Box[int]):
            assert ask(("echo", mine)) == mine
        assert ask(("echo", Color.BLUE)) is Color.BLUE
        assert ask(("call", Task("x").shout)) == "X"
        assert ask(("call", Reader.make)).__class__ is Reader

        *shown, same = ask(("enumerations", None))
        assert shown == ["RED", "RED", 6, "yes!"]
        assert same == (Color.BLUE, Planet.EARTH, Permission(6), Word.YES)
        assert same[0] is Color.BLUE
        reader, known, refusal = ask(("plugin", None))
        assert (reader, known) == ("None 42 RR Reader", ["good Reader"])
        assert "abstract" in refusal
        point, pair, movie, box = ask(("tuples", None))
        assert (point, pair, movie) == (Point(1, 5), Pair(1, 2), {"title": "x"})
        assert (type(point), type(pair), type(box)) == (Point, Pair, Box)
        of_tool, of_node = ask(("hints", None))
        assert of_tool == {"task": Task, "where": Point, "return": Node}
        assert of_node == {"value": int, "next": Node | None}
        assert ask(("dataclass", None)) == (["name", "tags"], Node(2), {"name": "x", "tags": []})
        failed = ask(("fail", None))
        assert type(failed) is Wrong
        assert str(failed) == "3: again"

        local = ask(("echo", Local(3)))
        assert type(local) is Local
        assert local.value == 3
        assert ask(("call", local.itself)) == (Local, Local)
        theirs = ask(("local_class", None))
        assert theirs.__name__ == "Local"
        assert theirs is not Local
        assert ask(("echo", theirs)) is theirs


if __name__ == "__main__":
    main()
