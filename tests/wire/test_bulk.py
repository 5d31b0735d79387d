"""Pickles of large bytes and texts: no copy is made of them, and they load as what they were."""

from __future__ import annotations

from typing import Any

import pytest

from procorch.wire import bulk, codec
from procorch.wire.bulk import LARGE, has_large, is_fixed, keep
from procorch.wire.payload import STREAMED, Lease


def parts_of(obj: Any) -> list[Any]:
    return codec.encode(obj, what="request")


def whole(parts: list[Any]) -> memoryview:
    return memoryview(bytearray(b"".join(parts)))


def back(obj: Any) -> Any:
    return codec.decode(whole(parts_of(obj)))


@pytest.mark.parametrize(
    "obj",
    [
        b"x" * LARGE,
        bytearray(b"x" * LARGE),
        "x" * LARGE,
        "\x7f\x00" * LARGE,
        "\x80" * LARGE,
        "\U0001f600" * LARGE,
        ["x" * LARGE, b"y" * LARGE, "z" * (LARGE + 1), 3],
        ({"a": {"b": ["x" * LARGE]}}, "small"),
        {"x" * LARGE: 1, "b": bytearray(LARGE)},
    ],
    ids=range(9),
)
def test_an_object_comes_back_as_it_was(obj: Any) -> None:
    came = back(obj)
    assert came == obj
    assert type(came) is type(obj)


def test_an_object_that_occurs_twice_is_one_object() -> None:
    text, data = "x" * LARGE, bytearray(b"y" * LARGE)
    first, second, third, fourth = back([text, data, text, data])
    assert first is second or first is third
    assert second is fourth
    second[:1] = b"z"
    assert fourth[:2] == b"zy"


@pytest.mark.parametrize("data", [b"x" * LARGE, bytearray(LARGE)], ids=["bytes", "bytearray"])
def test_bytes_are_not_copied(data: Any) -> None:
    assert any(part is data for part in parts_of(data))
    assert any(part is data for part in parts_of([{"a": data}]))


def test_a_text_is_not_copied_and_lives_as_long_as_a_view_of_it() -> None:
    (view,) = (part for part in parts_of(["a" * LARGE]) if len(part) >= LARGE)
    other = "b" * LARGE  # would get the memory of a text that is gone
    assert view[:3] == b"aaa"
    assert other[:3] == "bbb"


def test_a_large_object_is_looked_for_near_the_start_only() -> None:
    assert has_large([[[b"x" * LARGE]]])
    assert not has_large([[[[b"x" * LARGE]]]])
    assert not has_large([0] * 1000 + [b"x" * LARGE])
    deep = [[[[b"x" * LARGE]]], [0] * 1000 + ["x" * LARGE]]
    assert back(deep) == deep


def test_a_cut_pickle_is_an_error_and_not_a_crash() -> None:
    body = whole(parts_of([b"x" * LARGE, "y" * LARGE]))
    for size in (LARGE // 2, LARGE + 100, len(body) - 1):
        with pytest.raises(codec.SerializationError):
            codec.decode(body[:size])


def test_what_waits_in_a_queue_does_not_change() -> None:
    loose, fixed = bytearray(b"a" * STREAMED), b"b" * 100
    kept = keep([fixed, loose, memoryview(loose)[:100]])
    assert not isinstance(kept, Lease)
    loose[:] = b"z" * STREAMED
    assert [bytes(part[:3]) for part in kept] == [b"bbb", b"aaa", b"aaa"]
    assert kept[0] is fixed


def test_what_nobody_can_change_is_kept_as_it_is() -> None:
    for obj in (b"x" * STREAMED, ["x" * STREAMED]):
        parts = parts_of(obj)
        assert all(map(is_fixed, parts))
        assert keep(parts) is parts


def test_without_memory_for_a_copy_the_object_itself_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_memory(size: int) -> memoryview:
        raise OSError("no memory")

    monkeypatch.setattr(bulk, "allocate", no_memory)
    parts = [bytearray(STREAMED)]
    assert keep(parts) is parts
