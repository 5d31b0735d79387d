"""What multiprocessing gives to its own children only is refused, with what to use instead."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable
from multiprocessing import managers, sharedctypes
from typing import Any

import pytest

from procorch import SerializationError
from procorch.wire import codec

CONTEXT = multiprocessing.get_context("spawn")
MAKERS: dict[str, Callable[[], Any]] = {
    "Lock": CONTEXT.Lock,
    "RLock": CONTEXT.RLock,
    "Semaphore": CONTEXT.Semaphore,
    "BoundedSemaphore": CONTEXT.BoundedSemaphore,
    "Condition": CONTEXT.Condition,
    "Event": CONTEXT.Event,
    "Barrier": lambda: CONTEXT.Barrier(2),
    "Value": lambda: CONTEXT.Value("i", 1),
    "Array": lambda: CONTEXT.Array("i", 1),
    "Queue": CONTEXT.Queue,
    "JoinableQueue": CONTEXT.JoinableQueue,
    "SimpleQueue": CONTEXT.SimpleQueue,
    "Connection": lambda: CONTEXT.Pipe()[0],
    "RawValue": lambda: sharedctypes.RawValue("i", 1),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("to_parent", [False, True])
def test_a_message_with_it_is_refused(name: str, to_parent: bool) -> None:
    obj = MAKERS[name]()
    for message, path in ((obj, "value"), ({"a": [obj]}, "value['a'][0]")):
        with pytest.raises(SerializationError) as refused:
            codec.encode(message, what="request", to_parent=to_parent)
        assert refused.value.path is not None
        assert refused.value.path.startswith(path)
        assert "multiprocessing.Manager()." in str(refused.value)
        assert name == "RawValue" or f"multiprocessing {name} reaches only" in str(refused.value)


@pytest.mark.parametrize("name", MAKERS)
def test_a_factory_with_it_is_refused(name: str) -> None:
    obj = MAKERS[name]()
    with pytest.raises(SerializationError, match=r"multiprocessing\.Manager\(\)\.") as refused:
        codec.dump_factory(lambda: obj)
    assert "closure variable 'obj'" in str(refused.value)


def test_a_process_and_a_pool_are_refused() -> None:
    with pytest.raises(SerializationError, match="belongs to the one that started it"):
        codec.encode([multiprocessing.current_process()], what="request")
    with CONTEXT.Pool(1) as pool, pytest.raises(SerializationError, match="AgentPool"):
        codec.encode(pool, what="request")


def test_what_merely_speaks_of_it_is_sent() -> None:
    error = multiprocessing.AuthenticationError("multiprocessing.connection")
    message = [b"multiprocessing.connection", error, multiprocessing.Queue]
    body = b"".join(codec.encode(message, what="request"))
    assert codec.decode(body)[0] == message[0]
    assert repr(codec.decode(body)[1]) == repr(error)


class OwnWay(managers.BaseProxy):
    """A proxy that is pickled in a way of its own."""

    def __init__(self) -> None:
        pass

    def __reduce__(self) -> Any:
        return OwnWay, ()


def test_a_proxy_with_a_way_of_its_own_goes_that_way() -> None:
    for message in ([OwnWay()], [OwnWay(), lambda: 1]):
        assert isinstance(codec.decode(b"".join(codec.encode(message, what="request")))[0], OwnWay)


def test_a_proxy_of_a_manager_travels_with_the_key_of_its_manager() -> None:
    with CONTEXT.Manager() as manager:
        numbers = manager.list([1])
        (back,) = codec.decode(b"".join(codec.encode([numbers], what="request")))
        back.append(2)
        _, back = codec.decode(b"".join(codec.encode([lambda: 1, numbers], what="request")))
        back.append(3)
        codec.load_factory(codec.dump_factory(functools.partial(list.append, numbers)))
        codec.load_factory(codec.dump_factory(lambda: numbers))().append(4)
        assert list(numbers) == [1, 2, 3, 4]
