"""Several objects in one body."""

from __future__ import annotations

import pickle
import sqlite3
import sys
from types import ModuleType
from typing import Any

import pytest

from procorch.errors import SerializationError
from procorch.wire.item_list import BrokenItem, ItemList, opened, seal


class Loadless:
    def __reduce__(self) -> Any:
        return _fail, ()


def _fail() -> None:
    raise ValueError("does not load")


@pytest.mark.parametrize(
    "items", [[], [1, "a", None, b"x", 1.5, True], [[1], (2, 3), {"a": (4,)}, 5]], ids=str
)
def test_what_goes_in_comes_out(items: list[Any]) -> None:
    sealed = ItemList.of(items, what="request")
    assert ItemList.load(sealed.dump(), what="request").items(what="request") == items


def test_items_share_nothing() -> None:
    shared: list[int] = []
    found = ItemList.of([shared, shared], what="request").items(what="request")
    assert found[0] is not found[1]


def test_one_that_does_not_load_is_itself_alone() -> None:
    one, broken, two = ItemList.of([1, Loadless(), 2], what="request").items(what="reply")
    assert (one, two) == (1, 2)
    assert isinstance(broken, BrokenItem)
    assert "does not load" in str(broken.error)


def test_one_that_cannot_be_serialised_is_named() -> None:
    connection = sqlite3.connect(":memory:")
    try:
        with pytest.raises(SerializationError, match=r"value\[0\]"):
            ItemList.of([1, [connection]], what="request")
    finally:
        connection.close()


def test_rows_count_as_simple_when_all_their_parts_are() -> None:
    rows = [(1, "a"), (2, None)]
    sent = ItemList.of_rows(rows, what="request")
    assert (sent.simple, sent.entries, sent.rows) == (True, rows, True)
    mixed: list[tuple[Any, ...]] = [(1, [2]), (3, 4)]
    sent = ItemList.of_rows(mixed, what="request")
    assert not sent.simple
    assert ItemList.load(sent.dump(), what="request").items(what="request") == mixed


def test_a_part_has_what_stands_before_all() -> None:
    sent = ItemList.of([[1], [2], [3]], what="request", prelude=b"first")
    part = ItemList.load(sent.part(1, 2).dump(), what="request")
    assert (part.items(what="request"), part.prelude) == ([[2]], b"first")


def test_what_only_this_process_has_is_sealed_with_its_definition() -> None:
    found = ItemList.of([[1], lambda: 5], what="request").items(what="request")
    assert found[0] == [1]
    assert found[1]() == 5


def test_a_class_that_workers_cannot_import_is_sealed_with_its_definition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = ModuleType("a_module_that_is_no_file")
    monkeypatch.setitem(sys.modules, home.__name__, home)
    exec("class Thing:\n    number = 7", home.__dict__)
    plain, sealed = pickle.dumps(home.Thing(), 5), seal(home.Thing(), what="request")
    assert opened(sealed, what="request").number == 7
    del home.Thing
    assert opened(sealed, what="request").number == 7
    with pytest.raises(SerializationError, match="cannot be loaded"):
        opened(plain, what="request")


@pytest.mark.parametrize("body", [b"", b"junk", b"\x80\x05K\x01."], ids=str)
def test_damaged_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(SerializationError, match="cannot be loaded"):
        ItemList.load(body, what="reply")


def test_a_range_travels_without_its_items() -> None:
    items = ItemList.of(range(5, 10**6), what="request")
    body = items.dump()
    assert len(body) < 200
    assert ItemList.load(body, what="request").items(what="request")[:2] == [5, 6]
    assert list(items.part(1, 3).entries) == [6, 7]
