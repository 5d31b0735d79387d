"""What is encoded is what is decoded, and what cannot be is refused by name."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from procorch.errors import Aborted, SerializationError
from procorch.messages import user_text
from procorch.wire import codec
from procorch.wire.codec import decode, dump_factory, encode, is_complete, load_factory
from procorch.wire.frame import Decoder, Frame, Kind, gather
from tests.wire.peer import Refused, Worker

DILL, PICKLE = codec.DILL, codec.PICKLE

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=20,
)


def iter_forever() -> Iterator[None]:
    while True:
        yield


def body(obj: Any) -> bytes:
    return b"".join(encode(obj, what="request"))


def there_and_back(obj: Any) -> Any:
    return decode(body(obj))


# What goes through.


@given(plain)
def test_plain_data_comes_back_equal(obj: Any) -> None:
    assert there_and_back(obj) == obj
    assert decode(memoryview(bytearray(body(obj)))) == obj


def test_messages_are_plain_pickles() -> None:
    messages = [user_text("hello")]
    assert body(messages)[0] == PICKLE
    assert there_and_back(messages) == messages


def test_text_that_speaks_of_main_is_a_plain_pickle() -> None:
    program = {"program": "if __name__ == '__main__':\n    main()\n"}
    assert body(program)[0] == PICKLE
    assert there_and_back(program) == program
    assert there_and_back(["__main__", "__mp_main__"]) == ["__main__", "__mp_main__"]


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("size", [0, 10, 5_000, 300_000])
def test_arrays_come_back_aligned_and_writable(size: int, writable: bool) -> None:
    arrays = {"a": np.arange(size, dtype="f8"), "b": np.ones(size, "u1"), "c": [np.zeros(size)]}
    data = body(arrays)
    back = decode(memoryview(bytearray(data)) if writable else data)
    for name in "ab":
        np.testing.assert_array_equal(back[name], arrays[name])
        assert back[name].flags.aligned
        back[name][:] = 7
    back["c"][0][:] = 7
    assert (back["a"] == 7).all()
    assert (back["b"] == 7).all()


def test_a_large_array_is_neither_copied_into_the_pickle_nor_out_of_the_frame() -> None:
    array = np.arange(1_000_000)
    parts = encode(array, what="request")
    assert sum(len(part) for part in parts if isinstance(part, bytes)) < 1_000
    stream = b"".join(gather(Kind.REQUEST, 1, 1, b"head", parts))
    decoder = Decoder(2**30)
    frames: list[Frame] = []
    position = 0
    while position < len(stream):
        window = decoder.writable()
        count = min(len(window), len(stream) - position)
        window[:count] = stream[position : position + count]
        frames += decoder.wrote(count)
        position += count
    memory = frames[0].body
    back = decode(memory)
    np.testing.assert_array_equal(back, array)
    assert back.flags.aligned
    assert not back.flags.owndata
    assert np.shares_memory(back, np.frombuffer(memory, dtype="u1"))


def test_an_array_that_nobody_may_write_comes_back_so() -> None:
    array = np.arange(100_000)
    array.flags.writeable = False
    assert not there_and_back(array).flags.writeable


def test_arrays_that_are_not_contiguous_come_back_equal() -> None:
    array = np.arange(1_000_000).reshape(1000, 1000)
    np.testing.assert_array_equal(there_and_back(array[::2, ::3]), array[::2, ::3])
    np.testing.assert_array_equal(there_and_back(array.T), array.T)


def test_buffers_go_beside_what_only_dill_can_pickle() -> None:
    array = np.arange(100_000)
    parts = encode((array, lambda: 7), what="request")
    assert parts[0][0] == DILL
    back, function = decode(b"".join(parts))
    np.testing.assert_array_equal(back, array)
    assert function() == 7


def test_lambdas_and_closures_go_through() -> None:
    factor = 3

    def multiply(number: int) -> int:
        return number * factor

    back = there_and_back({"f": multiply, "g": lambda x: multiply(x) + 1})
    assert (back["f"](2), back["g"](2)) == (6, 7)
    assert back["f"] is not multiply


def test_a_local_class_comes_back_as_itself() -> None:
    class Local:
        pass

    assert type(there_and_back(Local())) is Local
    assert there_and_back([Local, Local()])[0] is Local


# What is refused.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (threading.Lock, r"request: value\['client'\]\.lock: cannot pickle '_thread\.lock' object"),
        (socket.socket, r"request: value\['client'\]\.lock: cannot pickle 'socket' object"),
        (iter_forever, r"value\['client'\]\.lock: cannot pickle 'generator' object"),
        (Path(os.devnull).open, r"\.lock: cannot pickle '(_io\.)?TextIOWrapper' "),
    ],
)
def test_what_cannot_be_pickled_is_refused_with_its_path(make: Any, message: str) -> None:
    class Client:
        def __init__(self, lock: Any) -> None:
            self.lock = lock

    item = make()
    try:
        with pytest.raises(SerializationError, match=message) as caught:
            encode({"client": Client(item)}, what="request")
    finally:
        getattr(item, "close", lambda: None)()
    assert caught.value.what == "request"
    assert caught.value.path == "value['client'].lock"


def test_an_object_that_raises_while_it_is_pickled_is_refused() -> None:
    class Bad:
        def __reduce__(self) -> Any:
            raise KeyError("no")

    class Exits:
        def __reduce__(self) -> Any:
            raise SystemExit(3)

    with pytest.raises(SerializationError, match=r"reply: value\[1\]: KeyError: 'no'"):
        encode([1, Bad()], what="reply")
    with pytest.raises(SerializationError, match="SystemExit"):
        encode([1, Exits()], what="reply")


def test_nesting_too_deep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SerializationError, match="request: value: it is nested too deeply"):
        encode(deep, what="request")


def test_too_little_memory_is_a_serialization_error() -> None:
    class Huge:
        def __reduce__(self) -> Any:
            raise MemoryError

    with pytest.raises(SerializationError, match="not enough memory"):
        encode(Huge(), what="request")


def test_an_abort_that_arrives_meanwhile_stays_an_abort() -> None:
    class Interrupted:
        def __reduce__(self) -> Any:
            raise Aborted("cancelled")

    with pytest.raises(Aborted):
        encode(Interrupted(), what="reply")
    interrupted = Interrupted()
    with pytest.raises(Aborted):
        dump_factory(lambda: interrupted)


def abort() -> None:
    raise Aborted("cancelled")


class AbortsOnLoad:
    def __reduce__(self) -> Any:
        return abort, ()


def test_an_abort_that_arrives_while_decoding_stays_an_abort() -> None:
    with pytest.raises(Aborted):
        decode(body(AbortsOnLoad()))
    with pytest.raises(Aborted):
        load_factory(pickle.dumps(AbortsOnLoad()))


def refuse_to_load(*arguments: Any) -> None:
    raise RuntimeError(f"not here: {arguments}")


class FailsToLoad:
    def __reduce__(self) -> Any:
        return refuse_to_load, (1, 2)


class ExitsOnLoad:
    def __reduce__(self) -> Any:
        return sys.exit, (3,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "IndexError"),
        (b"\x01", "IndexError"),
        (b"\x07\x00abc", "unknown format 7"),
        (b"\x01\x00", "EOFError"),
        (b"\x01\x00\x80\x05garbage", "cannot be loaded"),
        (b"\x01\x01", "cannot be loaded"),
        (b"\x01\x02" + bytes(100), "damaged table of buffers"),
        (b"\x01\x01\x00\x00\xff\xff\xff\xff" + bytes(100), "damaged table of buffers"),
        (b"\x01\x01\x00\x00" + bytes(4) + b"\x7f" * 8 + bytes(100), "truncated"),
        (b"\x01\x00" + pickle.dumps(FailsToLoad(), 5), r"RuntimeError: not here: \(1, 2\)"),
        (b"\x01\x00" + pickle.dumps(ExitsOnLoad(), 5), "SystemExit: 3"),
        (b"\x01\x00\x8c\x07missing\x8c\x01x\x93.", "No module named 'missing'"),
    ],
)
def test_bytes_that_do_not_load_are_a_serialization_error(data: bytes, message: str) -> None:
    with pytest.raises(SerializationError, match=message):
        decode(data)
    with pytest.raises(SerializationError, match="factory: cannot be loaded"):
        load_factory(data)


@given(
    st.integers(0, 400),
    # pickle itself allocates 64 GB when told to put something at the end of a large memo
    st.integers(0, 255).filter(lambda value: value not in (*pickle.PUT, *pickle.LONG_BINPUT)),
)
def test_a_damaged_body_never_does_worse(position: int, value: int) -> None:
    # No array: numpy itself crashes over some damaged descriptions of a dtype.
    whole = body([pickle.PickleBuffer(bytearray(40_000)), "text", {"a": 1}])
    data = bytearray(whole)
    data[position] = value
    with contextlib.suppress(SerializationError):
        decode(bytes(data))
    assert decode(whole)[1:] == ["text", {"a": 1}]  # it has damaged nothing else


@given(st.data())
def test_a_truncated_body_is_refused(draw: st.DataObject) -> None:
    data = body([np.arange(5_000), np.ones(5_000)])
    with pytest.raises(SerializationError):
        decode(data[: draw.draw(st.integers(0, len(data) - 1))])


# Factories.


def module_factory() -> Any:
    return len


def test_a_factory_of_an_importable_module_is_a_name() -> None:
    data = dump_factory(module_factory)
    assert len(data) < 100
    assert load_factory(data) is module_factory


@pytest.mark.parametrize("factory", [None, 7, "text", object()])
def test_what_cannot_be_called_is_no_factory(factory: Any) -> None:
    with pytest.raises(TypeError, match="a factory is a callable without arguments, not"):
        dump_factory(factory)


def test_a_factory_that_cannot_be_serialised_is_refused_with_the_path() -> None:
    with socket.socket() as sock:

        def factory() -> Any:
            return sock

        with pytest.raises(SerializationError) as caught:
            dump_factory(factory)
    assert str(caught.value) == "factory closure variable 'sock': cannot pickle 'socket' object"
    assert caught.value.path == "factory closure variable 'sock'"
    assert caught.value.what == "factory"


def test_a_lock_in_a_factory_arrives_fresh() -> None:
    lock = threading.Lock()

    def factory() -> Any:
        return lock

    with lock:
        copy = load_factory(dump_factory(factory))()
    assert copy is not lock
    assert not copy.locked()


def test_what_loads_and_cannot_be_called_is_no_factory() -> None:
    with pytest.raises(SerializationError, match="int is not callable"):
        load_factory(pickle.dumps(7))


# Nested functions of a module that workers can import: this one.

USED = ["from this module"]


def test_a_nested_factory_is_rebuilt_around_the_globals_of_its_module() -> None:
    greeting = "hello"

    def factory() -> Any:
        def agent(message: Any) -> Any:
            assert isinstance(message, str), "pytest has rewritten this assertion"
            return greeting, message, USED, __name__

        return agent

    with Worker(factory) as worker:
        assert worker.ask("x") == ("hello", "x", USED, __name__)
        with pytest.raises(Refused, match="AssertionError: pytest has rewritten"):
            worker.ask(3)


def test_a_nested_factory_that_uses_no_globals_needs_no_module() -> None:
    data = dump_factory(lambda: lambda message: [message, len(message)])
    program = (
        "import sys; from procorch.wire.codec import load_factory;"
        "agent = load_factory(sys.stdin.buffer.read())();"
        "assert agent('x') == ['x', 1];"
        "assert not [name for name in sys.modules if name.startswith(('tests', 'dill', 'pytest'))]"
    )
    source = os.path.dirname(os.path.dirname(os.path.dirname(codec.__file__)))
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=data,
        env={**os.environ, "PYTHONPATH": source},
        cwd="/",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_codec_does_not_import_dill() -> None:
    program = (
        "import sys; from procorch.wire.codec import *;"
        "decode(b''.join(encode([1, {'a': 'b'}], what='x'))); dump_factory(len);"
        "assert 'dill' not in sys.modules;"
        "decode(b''.join(encode(lambda: 1, what='x')));"
        "assert 'dill' in sys.modules"
    )
    source = os.path.dirname(os.path.dirname(os.path.dirname(codec.__file__)))
    subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": source}, check=True
    )


def test_a_pickle_with_an_object_of_multiprocessing_is_not_complete() -> None:
    assert is_complete(["text", 1], pickle.dumps(["text", 1]))
    cls = multiprocessing.get_context("spawn").Process
    assert not is_complete([cls], pickle.dumps([cls]))
