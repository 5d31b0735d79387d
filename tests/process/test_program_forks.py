"""The child of a fork has no part in its parent's agents: each public call is refused (N21)."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

PROGRAM = textwrap.dedent("""
    import asyncio, atexit, gc, os, signal, sys, threading, time, warnings
    import concurrent.futures as futures
    warnings.simplefilter("ignore", DeprecationWarning)
    from procorch import AgentExecutor, AgentOrchestrator, AgentPool, AgentStopped

    def factory():
        def work(x):
            if "hang" in x:
                time.sleep(60)
            return os.getpid()
        return work

    def refused(**calls):
        for name, call in calls.items():
            signal.alarm(10)
            try:
                got = call()
            except AgentStopped as error:
                assert f"belong to process {os.getppid()}" in str(error), (name, error)
            except BaseException as error:
                raise AssertionError(f"{name} raised {error!r}") from error
            else:
                raise AssertionError(f"{name} gave {got!r}")
        signal.alarm(0)

    def leave(block, kind=None):
        return lambda: block.__exit__(kind, None, None)

    def alone(coroutine):
        return lambda: asyncio.run(coroutine())

    def in_child(body, *, exit=os._exit):
        child = os.fork()
        if child == 0:
            try:
                body()
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            exit(0)
        assert os.waitpid(child, 0)[1] == 0, "the child failed"
""")


@pytest.fixture
def run() -> Callable[[str], str]:
    def run(text: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM + textwrap.dedent(text)],
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.stderr == ""
        assert done.returncode == 0
        return done.stdout

    return run


def test_of_a_handle_and_its_orchestrator(run: Callable[[str], str]) -> None:
    out = run("""
        with AgentOrchestrator() as orch:
            orch.add_agent("a", factory)
            handle = orch.spawn("a")
            first = handle.deliver("go").result().output
            watched, events = orch.monitor("a"), orch.events()
            hanging, done = handle.submit(["hang"]), handle.deliver("go")
            replica = orch.spawn_pool("a")

            def body():
                async def one():
                    return await hanging
                async def next_event():
                    return await anext(events)
                async def aclose():
                    await orch.aclose()
                refused(
                    send_message=lambda: handle.send_message("x"),
                    send_messages=lambda: handle.send_messages([]),
                    submit=lambda: handle.submit("x"), stream=lambda: handle.stream("x"),
                    deliver=lambda: handle.deliver("x"), drain=handle.drain,
                    await_result=handle.await_result, stop=handle.stop, wait=handle.wait,
                    restart=handle.restart, info=handle.info, output=handle.output,
                    cancel=handle.cancel,
                    status=handle.status, is_done=handle.is_done,
                    set_width=lambda: replica.set_width(1), may_wait=replica.may_wait,
                    pause=replica.pause, allowed=replica.allowed,
                    withdraw=replica.withdraw_waiting,
                    chunk=lambda: replica.deliver_chunk([1]), ours=replica.must_be_ours,
                    spawn=lambda: orch.spawn("a"), spawn_tree=lambda: orch.spawn_tree("a"),
                    spawn_all=orch.spawn_all, orch_stop=lambda: orch.stop("a"),
                    orch_handle=lambda: orch.handle("a"), orch_restart=lambda: orch.restart("a"),
                    remove=lambda: orch.remove("a"), children=lambda: orch.which_children("a"),
                    count=lambda: orch.count_children("a"), monitor=lambda: orch.monitor("a"),
                    start_child=lambda: orch.start_child("a", "b", factory),
                    add_agent=lambda: orch.add_agent("c", factory), events=orch.events,
                    close=orch.close, aclose=alone(aclose), leave=leave(orch),
                    result=hanging.result, exception=hanging.exception,
                    future_cancel=hanging.cancel, awaited=alone(one), known=done.result,
                    next=lambda: next(watched), anext=alone(next_event), stream_close=events.close,
                )
                refused(
                    waited=lambda: futures.wait([hanging], timeout=9).done.pop().result(),
                    completed=lambda: next(futures.as_completed([hanging], timeout=9)).result(),
                )
                repr(orch), repr(handle), repr(hanging)
            in_child(body)
            assert handle.generation == 1
            hanging.cancel()
            assert handle.deliver("go").result().output != 0
        print("done")
    """)
    assert out == "done\n"


def test_of_a_pool_and_an_executor(run: Callable[[str], str]) -> None:
    out = run("""
        with AgentPool(factory, workers=1) as pool, AgentExecutor(1) as executor:
            hanging = pool.submit("hang")
            results, waiting = pool.imap(["hang"] * 9), executor.map(time.sleep, [60, 60])
            results.start()
            call = executor.submit(time.sleep, 60)

            def body():
                async def amap():
                    return await pool.amap([1])
                async def one():
                    async for result in results:
                        return result
                refused(
                    submit=lambda: pool.submit(1), map=lambda: pool.map([1]),
                    empty=lambda: pool.map([]), imap=lambda: next(pool.imap([1])),
                    unordered=lambda: next(pool.imap_unordered([1])), amap=alone(amap),
                    resize=lambda: pool.resize(2), info=pool.info, events=pool.events,
                    close=pool.close, leave=leave(pool),
                    next=lambda: next(results), anext=alone(one), results_close=results.close,
                    executor_submit=lambda: executor.submit(abs, 1),
                    executor_map=lambda: executor.map(abs, [1]), executor_info=executor.info,
                    shutdown=executor.shutdown, executor_leave=leave(executor),
                    cancelling=lambda: executor.shutdown(wait=False, cancel_futures=True),
                    result=call.result, exception=call.exception, cancel=call.cancel,
                    mapped=lambda: next(waiting),
                )
                repr(pool), repr(executor), repr(call)
                leave(pool, SystemExit)(), leave(executor, SystemExit)()
            in_child(body)
            assert not call.done() and not hanging.done()
            call.cancel(), hanging.cancel(), results.close()
            executor.shutdown(cancel_futures=True, wait=False)
            executor.terminate_workers()
            pool.close(drain=False)
        print("done")
    """)
    assert out == "done\n"


@pytest.mark.parametrize("how", ["sys.exit", "os._exit", "lose", "multiprocessing"])
def test_the_end_of_a_fork_is_silent_and_disturbs_nobody(
    run: Callable[[str], str], how: str
) -> None:
    out = run(f"""
        import multiprocessing
        how = {how!r}
        with AgentPool(factory, workers=1) as pool, AgentExecutor(1) as executor:
            first = pool.submit("go").result().output
            hanging = pool.submit("hang")
            results = pool.imap(iter(["hang"] * 9))
            results.start(here=False)
            mapped = executor.map(time.sleep, [30] * 3, buffersize=2)
            stream = pool.events()

            def body():
                global results, mapped, stream, hanging
                if how == "lose":
                    results = mapped = stream = hanging = None
                    gc.collect()

            if how == "multiprocessing":
                child = multiprocessing.get_context("fork").Process(target=body)
                child.start()
                child.join(20)
                assert child.exitcode == 0
            else:
                child = os.fork()
                if child == 0:
                    signal.alarm(20)
                    body()
                    (os._exit if how == "os._exit" else sys.exit)(0)
                assert os.waitpid(child, 0)[1] == 0
            hanging.cancel(), results.close()
            assert pool.submit("go").result().output
            executor.terminate_workers()
        print("done")
    """)
    assert out == "done\n"
