"""What is to be measured: where each program comes from, and what it is given."""

from __future__ import annotations

import marshal
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from subprocess import run
from typing import Any

from procorch.wire import codec

Factory = Callable[[], Any]
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


class NotMeasurable(ValueError):
    """A program cannot be measured as it was named; the text says what to change."""


@dataclass(frozen=True)
class Case:
    """One program with its requests.

    Args:
        name: what its measurement is called.
        app: ``module:name`` or ``file.py:name``; empty for a factory of a script.
        factory: serialised; None where ``app`` names it.
        requests: kind and bytes of each, see `serialise`.
        given: the requests were given; False: there is one, None, for want of another.
        params: values of the program's parameters, by name.
        sweep: values of all parameters of a sweep, those in the requests as well.
        python: the interpreter; empty: the one that runs this.
        path: its ``sys.path``; None: that which the interpreter makes.
        kind: ``factory``, ``function``, or empty: what it returns tells.
        program: each request is the file and the arguments of a program, which is run.
    """

    name: str
    app: str = ""
    factory: bytes | None = None
    requests: tuple[tuple[str, bytes], ...] = (("plain", marshal.dumps(None)),)
    given: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    sweep: Mapping[str, Any] = field(default_factory=dict)
    python: str = ""
    path: Sequence[str] | None = None
    kind: str = ""
    program: bool = False

    @property
    def digest(self) -> str:
        """Tells whether two cases have the same requests and are called in the same way."""
        content = repr((self.requests, self.given, sorted(self.params.items()), self.kind))
        return sha256(content.encode()).hexdigest()[:16]


def of_factory(name: str, factory: Factory, requests: Sequence[Any], kind: str = "") -> Case:
    """A factory, or a plain function, of the program that runs.

    Raises:
        SerializationError: it or a request cannot be sent to another process.
    """
    given = not (len(requests) == 1 and requests[0] is None)
    data = codec.dump_factory(factory)
    path = [each or os.getcwd() for each in sys.path if isinstance(each, str)]
    sent = tuple(map(serialise, requests))
    return Case(name, factory=data, requests=sent, given=given, path=path, kind=kind)


def serialise(request: Any) -> tuple[str, bytes]:
    """A request for a process that need not have procorch, where plain data make that possible."""
    if _is_plain(request):
        return "plain", marshal.dumps(request, 4)
    return "codec", b"".join(codec.encode(request, what="request"))


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple, set, frozenset):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(_is_plain(key) and _is_plain(each) for key, each in value.items())
    return type(value) in _PLAIN


def distinct(cases: Iterable[Case]) -> list[Case]:
    """The cases, those of one name numbered: a program may be measured against itself."""
    found = list(cases)
    often = Counter(case.name for case in found)
    numbers: Counter[str] = Counter()
    for place, case in enumerate(found):
        if often[case.name] > 1:
            letter = chr(ord("a") + numbers[case.name])
            numbers[case.name] += 1
            found[place] = replace(case, name=f"{case.name} ({letter})")
    return found


def interpreter(named: str) -> str:
    """The absolute path of an interpreter.

    Raises:
        NotMeasurable: there is none, or it does not run.
    """
    path = shutil.which(named)
    if path is None:
        raise NotMeasurable(f"there is no interpreter {named!r}: give the path of a python")
    code = "import sys; sys.exit(sys.version_info < (3, 8))"
    done = run([path, "-c", code], capture_output=True, text=True, timeout=60)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it is no Python 3.8 or later"]
        raise NotMeasurable(f"{named!r} cannot be used as an interpreter: {said[0]}")
    return os.path.abspath(path)  # not its real path: a virtual environment is known by its link
