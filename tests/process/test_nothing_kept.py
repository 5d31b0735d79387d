"""Nothing of a closed orchestrator is kept, and a clean run says nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import PATIENCE, host_environment

KEPT = """
import gc
import sys
import weakref

from procorch import AgentExecutor, AgentOrchestrator, AgentPool, DefaultSupervisor


class Big:
    def __init__(self):
        self.data = bytearray(1_000_000)


BIG, REBOUND, LISTED = Big(), Big(), [Big()]  # No weak reference to a list is possible.


class Model:
    attribute = Big()


class Message:
    def __init__(self):
        self.big = Big()


def use():
    return len(BIG.data) + len(REBOUND.data) + len(LISTED[0].data)


def size(big):
    return len(big.data)


def model_agent():
    model = Model

    def handle(message):
        return use(), model.attribute is not None

    return handle


def main(method):
    global REBOUND
    kept = {"global": BIG, "listed": LISTED[0], "attribute": Model.attribute, "class": Model}
    with AgentPool(model_agent, workers=1, start_method=method) as pool:
        assert list(pool.imap([1, 2]))
        again = weakref.ref(REBOUND)
        REBOUND = Big()
        assert list(pool.imap([1, 2]))
    local = Big()

    def factory():
        return lambda message: (len(local.data), message)[0]

    kept |= {"closure": local, "factory": factory}
    with AgentOrchestrator(supervisor=DefaultSupervisor(), start_method=method) as orch:
        orch.add_agent("a", factory)
        handle = orch.spawn("a")
        message = Message()
        future = handle.deliver(message)
        future.result()
        handle.deliver(size).result()
        kept |= {"orchestrator": orch, "handle": handle, "message": message, "future": future}
    with AgentExecutor(1, start_method=method) as executor:
        argument = Big()
        call = executor.submit(size, argument)
        call.result()
        result = executor.submit(Message).result()
        kept |= {"executor": executor, "argument": argument, "call": call, "result": result}
    return {name: weakref.ref(thing) for name, thing in kept.items()} | {"rebound": again}


references = main(sys.argv[1])
del BIG, REBOUND, LISTED, Model, model_agent
gc.collect()
print([name for name, reference in references.items() if reference() is not None])
"""

SILENT = """
import asyncio
import sys

from procorch import AgentExecutor, AgentOrchestrator, AgentPool


def agent():
    async def handle(message):
        await asyncio.sleep(0)
        return message

    return handle


if __name__ == "__main__":
    method = sys.argv[1]
    with AgentExecutor(2, start_method=method) as executor:
        assert list(executor.map(abs, [-1, -2])) == [1, 2]
    with AgentPool(agent, workers=2, start_method=method) as pool:
        assert list(pool.imap([b"x" * 1_000_000, "y"])) == [b"x" * 1_000_000, "y"]
    with AgentOrchestrator(start_method=method) as orch:
        orch.add_agent("a", agent)
        handle = orch.spawn("a")
        handle.restart()
        assert handle.deliver(1).result().output == 1
    print("done")
"""


@pytest.mark.parametrize("method", ["zygote", "spawn"])
def test_nothing_of_what_is_closed_is_kept(run_python: Callable[..., Any], method: str) -> None:
    done = run_python(KEPT, method)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("method", ["zygote", "spawn"])
@pytest.mark.parametrize(
    "flags", [("-X", "dev"), ("-W", "error", "-bb"), ("-W", "default"), ()], ids=str
)
def test_a_clean_run_is_silent(tmp_path: Path, flags: tuple[str, ...], method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SILENT)
    environment = host_environment() | ({} if flags else {"PYTHONWARNINGS": "error"})
    done = subprocess.run(
        [sys.executable, *flags, str(script), method],
        capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
