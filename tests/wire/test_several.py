"""Several objects in one body."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from procorch.errors import SerializationError
from procorch.wire.item_list import Broken, Several


class Loadless:
    def __reduce__(self) -> Any:
        return _fail, ()


def _fail() -> None:
    raise ValueError("does not load")


@pytest.mark.parametrize(
    "items", [[], [1, "a", None, b"x", 1.5, True], [[1], (2, 3), {"a": (4,)}, 5]], ids=str
)
def test_what_goes_in_comes_out(items: list[Any]) -> None:
    sealed = Several.of(items, what="request")
    assert Several.load(sealed.dump(), what="request").items(what="request") == items


def test_items_share_nothing() -> None:
    shared: list[int] = []
    found = Several.of([shared, shared], what="request").items(what="request")
    assert found[0] is not found[1]


def test_one_that_does_not_load_is_itself_alone() -> None:
    one, broken, two = Several.of([1, Loadless(), 2], what="request").items(what="reply")
    assert (one, two) == (1, 2)
    assert isinstance(broken, Broken)
    assert "does not load" in str(broken.error)


def test_one_that_cannot_be_serialised_is_named() -> None:
    connection = sqlite3.connect(":memory:")
    try:
        with pytest.raises(SerializationError, match=r"value\[0\]"):
            Several.of([1, [connection]], what="request")
    finally:
        connection.close()


@pytest.mark.parametrize("body", [b"", b"junk", b"\x80\x05K\x01."], ids=str)
def test_damaged_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(SerializationError, match="cannot be loaded"):
        Several.load(body, what="reply")
