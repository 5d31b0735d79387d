"""The reference of the Python API is complete, and its examples do what they show.

An entry of the site is the docstring of a public name. `docs/reference/api` says on which page each
name is, and since which version it exists.
"""

from __future__ import annotations

import dataclasses
import doctest
import enum
import inspect
import re
import tomllib
from collections import Counter
from typing import Any

import pytest

import procorch
import procorch.testing
from tests.docs.test_blocks import ROOT

FOLDER = ROOT / "docs" / "reference" / "api"
BLOCK = re.compile(r"^```\{api\} (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PUBLIC: dict[str, Any] = {
    name: getattr(module, name)
    for module in (procorch, procorch.testing)
    for name in module.__all__
}
ALIASES = {"AgentEvent", "AgentMessage", "ContentBlock", "LlmMessage", "StreamEvent"}
ENTRIES = sorted(PUBLIC.keys() - ALIASES)
NOT_RUN = {
    "AsyncDaemonClient", "AsyncRemoteHandle", "DaemonClient", "RemoteHandle", "RemoteStream",
    "connect", "connect_async",  # these need a daemon
    "Conversation", "Permit", "RayBackend",  # a model, a service, a cluster
    "Comparison", "Measurement", "compare", "measure",  # some seconds
    "run",  # ends the program
}  # fmt: skip
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def entry(name: str) -> str:
    """The docstring of a public name."""
    return inspect.cleandoc(PUBLIC[name].__doc__ or "")


def test_each_public_name_is_on_one_page_of_the_reference() -> None:
    named = Counter(
        name
        for page in FOLDER.glob("*.md")
        for _, names in BLOCK.findall(page.read_text(encoding="utf-8"))
        for name in names.split()
    )
    assert named == Counter(PUBLIC.keys())


def test_each_public_name_has_the_version_since_which_it_exists() -> None:
    since = tomllib.loads((FOLDER / "since.toml").read_text(encoding="utf-8"))
    assert list(since) == sorted(PUBLIC)
    assert all(re.fullmatch(r"\d+\.\d+", version) for version in since.values())


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_has_a_description_and_an_example(name: str) -> None:
    text = entry(name)
    assert re.match(r"\S.*\S", text), f"{name} has no docstring"
    assert "\nExample:\n    >>> " in text, f"{name} has no example"


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_has_a_signature_whose_arguments_it_explains(name: str) -> None:
    """Plain data is explained by its fields, and a class that the user does not make by its use."""
    thing = PUBLIC[name]
    if not inspect.isfunction(thing) and "\nArgs:\n" not in entry(name):
        return
    for argument, about in inspect.signature(thing).parameters.items():
        if about.kind is not about.VAR_KEYWORD:
            assert re.search(rf"\b{argument}\b", entry(name)), (
                f"{name}: {argument} is not explained"
            )


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_says_what_is_raised(name: str) -> None:
    """In its own text or in that of a method; a record and an error are made without a check."""
    thing = PUBLIC[name]
    if inspect.isclass(thing):
        if issubclass(thing, BaseException | enum.Enum | dict) or is_record(thing):
            return
        texts = [inspect.getdoc(each) or "" for _, each in inspect.getmembers(thing)]
        assert any("Raises:\n" in each for each in [entry(name), *texts]), name
    else:
        assert "\nRaises:\n" in entry(name), name


def is_record(thing: type) -> bool:
    """Whether its constructor only keeps its arguments."""
    checks = "__post_init__" in vars(thing)
    kept = dataclasses.is_dataclass(thing) or hasattr(thing, "__struct_fields__")
    return not checks and (kept or issubclass(thing, tuple))


@pytest.mark.parametrize("name", [name for name in ENTRIES if name not in NOT_RUN])
def test_an_example_does_what_it_shows(name: str) -> None:
    names = {**PUBLIC, "__name__": "__main__"}
    test = doctest.DocTestParser().get_doctest(entry(name), names, name, None, None)
    assert test.examples
    failures: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=failures.append)
    assert not failures, "".join(failures)
