"""What is measured, and what becomes of runs that fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from procorch import compare, measure
from procorch.bench import Failure, Run, measure_together

MiB = 1 << 20
FEW: dict[str, Any] = {"runs": 3, "warmup": 0}


def noop():
    return lambda x: None


def test_a_crash_costs_its_own_run_and_no_other() -> None:
    def factory():
        import os

        calls = 0

        def handle(x):
            nonlocal calls
            calls += 1
            if calls == 4:
                os.abort()
            return sum(range(300_000))

        return handle

    seen: list[Run | Failure] = []
    m = measure(
        factory, runs=8, processes=2, warmup=0, loops=1, on_run=lambda name, each: seen.append(each)
    )
    assert m.success == "ok 6/8, 2 SIGABRT"
    assert [type(each) for each in seen].count(Failure) == 2
    assert (len(m.runs), len(m.failures), m.complete) == (6, 2, True)
    assert {failure.phase for failure in m.failures} == {"warm"}
    assert len({run.pid for run in m.runs}) == 4  # a process that died is replaced
    assert m.wall.count == 6


def test_a_hang_costs_its_own_run(tmp_path: Path) -> None:
    flag = tmp_path / "hung"

    def factory():
        import time

        def handle(x):
            if not flag.exists():
                flag.touch()
                time.sleep(60)

        return handle

    c = compare(noop, factory, timeout=0.5, loops=1, **FEW)
    assert (c.a.success, c.b.success) == ("ok 3/3", "ok 2/3, 1 timeout")
    assert "not answered within 0.5 s" in c.b.failures[0].text


def test_a_timeout_is_of_one_call() -> None:
    def factory():
        import time

        return lambda x: time.sleep(0.3)

    m = measure(factory, [1, 2, 3, 4, 5], runs=1, warmup=0, timeout=1, loops=1)
    assert m.success == "ok 1/1"


@pytest.mark.parametrize("fast", [False, True])
def test_a_call_that_ends_late_has_failed(fast: bool) -> None:
    def factory():
        import time

        return lambda x: time.sleep(x)

    c = compare(noop, factory, [0.0, 0.3], timeout=0.25, fast=fast, runs=1, warmup=0)
    assert c.b.success == "ok 0/1, 1 timeout"
    assert "on request 2 of 2" in c.b.failures[0].text


@pytest.mark.timeout(180)
def test_a_death_is_noticed_while_a_forked_child_lives(tmp_path: Path) -> None:
    def factory():
        import os
        import time

        def handle(x):
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            (tmp_path / "child").write_text(str(pid))
            os._exit(3)

        return handle

    c = compare(noop, factory, runs=1, warmup=0)
    assert c.b.success == "ok 0/1, 1 exit 3"
    assert not Path(f"/proc/{(tmp_path / 'child').read_text()}").exists()


def test_an_exception_is_counted_by_its_type_and_keeps_the_process() -> None:
    def factory():
        calls = 0

        def handle(x):
            nonlocal calls
            calls += 1
            if calls == 3:
                raise KeyError("gone")

        return handle

    m = measure(factory, [1, 2], runs=3, warmup=0, processes=1, loops=1)
    assert m.success == "ok 2/3, 1 KeyError"
    (failure,) = m.failures
    assert (failure.phase, failure.request) == ("warm", 0)
    assert "KeyError: 'gone' on request 1 of 2" in failure.text
    assert "in handle" in failure.traceback


def test_a_program_that_never_succeeds_is_given_up_and_keeps_the_others() -> None:
    def dies():
        import os

        return lambda x: os._exit(3)

    c = compare(noop, dies, runs=8, warmup=0)
    assert c.a.success == "ok 8/8"
    assert c.b.success == "ok 0/5, 5 exit 3"
    assert "given up after 5 runs, which all failed" in c.b.notes


def test_one_that_fails_in_inner_loops_is_called_once_a_run_from_then_on() -> None:
    def factory():
        calls = 0

        def handle(x):
            nonlocal calls
            calls += 1
            if calls % 100 == 0:
                raise ValueError("now and then")

        return handle

    m = measure(factory, runs=6, warmup=0, processes=1)
    assert m.success == "ok 5/6, 1 ValueError"
    assert any("inner loops" in note for note in m.notes)
    assert m.runs[-1].loops == 1
    # A warm-up that fails there spares the runs that count.
    assert measure(factory, runs=6, warmup=1, processes=1).success == "ok 6/6"


def test_each_process_is_executed_anew_with_a_hash_seed_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)

    def factory():
        import os

        def handle(x):
            with open(tmp_path / "seen", "a") as file:
                file.write(f"{os.environ['PYTHONHASHSEED']} {hash('x')}\n")

        return handle

    m = measure(factory, runs=4, processes=2, warmup=0, loops=1)
    assert [run.process for run in m.runs] == [0, 0, 1, 1]
    assert [run.cold is None for run in m.runs] == [False, True, False, True]
    assert [run.way is None for run in m.runs] == [True, False, True, False]
    seeds = {str(run.hash_seed) for run in m.runs}
    lines = set((tmp_path / "seen").read_text().splitlines())
    assert len(seeds) == 2
    assert {line.split()[0] for line in lines} == seeds
    assert len({line.split()[1] for line in lines}) == 2


def test_programs_that_are_compared_share_the_seeds_of_a_turn() -> None:
    c = compare(noop, noop, **FEW)
    assert [run.hash_seed for run in c.a.runs] == [run.hash_seed for run in c.b.runs]


def test_a_seed_that_the_user_has_set_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    m = measure(lambda: lambda x: None, **FEW)
    assert {run.hash_seed for run in m.runs} == {7}


def test_the_first_import_costs_what_it_costs_and_a_fork_says_that_it_is_one() -> None:
    def factory():
        def handle(x):
            import sys

            if {"decimal", "json", "logging"} & set(sys.modules):
                raise ImportError("loaded before")

        return handle

    assert measure(factory, **FEW).success == "ok 3/3"
    m = measure(noop, fast=True, **FEW)
    assert m.plan is not None
    assert m.plan.mode == "forked"
    assert {run.hash_seed for run in m.runs} == {None}
    assert any("measured in forks" in note for note in m.notes)


def test_a_fork_that_dies_or_hangs_costs_its_own_run(tmp_path: Path) -> None:
    def factory():
        import os
        import time

        def handle(x):
            for name, action in (("a", os.abort), ("b", lambda: time.sleep(60))):
                if not (tmp_path / name).exists():
                    (tmp_path / name).touch()
                    action()

        return handle

    m = measure(factory, runs=4, warmup=0, fast=True, timeout=0.3, loops=1)
    assert m.success == "ok 2/4, 1 SIGABRT, 1 timeout"


def test_the_way_there_and_back_is_a_figure_of_its_own() -> None:
    def large():
        pairs = [(f"k{n}", n * 1.5) for n in range(100_000)]
        return lambda x: pairs

    m = measure(large, **FEW)
    assert m.wall.median < m.way.median / 10
    unsendable = measure(lambda: lambda x: (n for n in x), [[1]], **FEW)
    assert {run.way for run in unsendable.runs} == {None}
    assert any("generator" in note for note in unsendable.notes)


def test_very_fast_calls_are_measured_many_at_a_time() -> None:
    m = measure(noop, [None] * 10, **FEW)
    assert m.wall.median / 10 < 2e-6
    assert len(m.runs[0].each) == 10
    assert m.runs[0].loops > 100
    assert measure(noop, loops=1, **FEW).runs[0].loops == 1


def test_each_call_gets_an_argument_that_no_other_has_changed() -> None:
    def factory():
        def handle(numbers):
            assert numbers == [3, 1, 2]
            numbers.sort()

        return handle

    assert measure(factory, [[3, 1, 2]], **FEW).success == "ok 3/3"


def test_coroutines_are_awaited_on_one_event_loop() -> None:
    def factory():
        import asyncio

        loops = set()

        async def handle(x):
            loops.add(id(asyncio.get_running_loop()))
            assert len(loops) == 1
            await asyncio.sleep(0.001)

        return handle

    m = measure(factory, **FEW)
    assert m.success == "ok 3/3"
    assert m.wall.min >= 0.001


def test_children_are_counted() -> None:
    def factory():
        import subprocess
        import sys

        code = "x = bytearray(100 << 20); sum(range(2_000_000))"
        return lambda x: subprocess.run([sys.executable, "-c", code], check=True)

    m = measure(factory, runs=1, warmup=0)
    (run,) = m.runs
    assert run.children == 1
    assert m.peak_rss.median == run.children_peak_rss > 100 * MiB
    assert 0 < run.children_cpu <= m.cpu.median


def test_children_that_still_live_are_counted() -> None:
    def factory():
        import subprocess
        import sys

        code = "import sys\nfor line in sys.stdin: x = bytearray(100 << 20); print(flush=True)"
        pipe = subprocess.PIPE
        child = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe)

        def handle(x):
            child.stdin.write(b"\n")
            child.stdin.flush()
            child.stdout.readline()

        return handle

    m = measure(factory, runs=1, warmup=0)
    assert m.runs[0].children == 1
    assert m.runs[0].children_cpu > 0
    assert m.peak_rss.median > 100 * MiB


def test_a_plain_function_is_measured_itself() -> None:
    def double(n):
        return 2 * n

    def power(base, exponent):
        return base**exponent

    def constant():
        return 5

    for function, requests in (
        (double, [1, 2]),
        (power, [[2, 3], {"base": 2, "exponent": 3}]),
        (constant, [None]),
    ):
        m = measure(function, requests, **FEW)
        assert m.success == "ok 3/3", function
    assert any("it is measured itself" in note for note in m.notes)
    with pytest.raises(ValueError, match="double: it needs n: give a request"):
        measure(double, **FEW)
    with pytest.raises(ValueError, match="the factory returned a value of type int"):
        measure(constant, function=False, **FEW)


def test_what_a_program_prints_does_not_mix_with_what_the_script_prints(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def factory():
        return lambda x: print("noise")

    assert measure(factory, **FEW).success == "ok 3/3"
    assert "noise" not in capfd.readouterr().out
    assert measure(factory, fast=True, **FEW).success == "ok 3/3"
    assert "noise" not in capfd.readouterr().out


def test_processes_can_be_pinned() -> None:
    cpu = min(os.sched_getaffinity(0))

    def factory():
        import os

        def handle(x):
            assert os.sched_getaffinity(0) == {x}

        return handle

    m = measure(factory, [cpu], cpu=str(cpu), **FEW)
    assert m.success == "ok 3/3"
    assert m.machine["affinity"] == [cpu]
    for wrong in ("x", "", "99999"):
        with pytest.raises(ValueError, match=f"cpu='{wrong}'"):
            measure(factory, cpu=wrong, **FEW)


def test_the_machine_is_described() -> None:
    machine = measure(noop, **FEW).machine
    assert machine["host"]
    assert machine["cpu_model"]
    assert machine["affinity"] == sorted(os.sched_getaffinity(0))
    assert {"governor", "memory", "python", "system"} <= set(machine)


def test_settings_hold_for_the_process_that_is_measured(tmp_path: Path) -> None:
    def factory():
        import os

        def handle(x):
            assert os.getcwd() == str(tmp_path)
            assert os.environ["WORD"] == "said"

        return handle

    m = measure(factory, cwd=str(tmp_path), env={"WORD": "said"}, **FEW)
    assert m.success == "ok 3/3"

    def hungry():
        import time

        return lambda x: [bytearray(200 << 20), time.sleep(30)]

    c = compare(noop, hungry, memory_limit="100M", **FEW)
    assert c.b.success == "ok 0/3, 3 memory"


def test_several_programs_have_one_run_a_turn() -> None:
    turns: list[str] = []
    names = {"one": noop, "two": noop, "three": noop}
    found = measure_together(names, on_run=lambda name, run: turns.append(name), **FEW)
    assert turns == ["one", "two", "three"] * 3
    assert list(found) == ["one", "two", "three"]
    assert [run.turn for run in found["two"].runs] == [0, 1, 2]


def test_threads_of_one_program_do_not_disturb_the_runs_of_another(tmp_path: Path) -> None:
    def ticking():
        import threading

        def tick():
            with open(tmp_path / "ticks", "ab", buffering=0) as ticks:
                while True:
                    ticks.write(b".")

        threading.Thread(target=tick, daemon=True).start()
        return lambda x: None

    def watching():
        import time

        def handle(x):
            before = (tmp_path / "ticks").stat().st_size
            time.sleep(0.1)
            if (tmp_path / "ticks").stat().st_size != before:
                raise RuntimeError("it ran")

        return handle

    c = compare(ticking, watching, runs=2, processes=1, warmup=0, loops=1)
    assert c.b.success == "ok 2/2"


def test_a_program_that_imports_procorch_late_has_a_context() -> None:
    def handle():
        def answer(x):
            from procorch import current

            if current().agent != "handle":
                raise ValueError(current().agent)

        return answer

    assert measure(handle, **FEW).success == "ok 3/3"


def test_agents_of_all_shapes_are_measured() -> None:
    from procorch import AgentOptions

    class Handles:
        opened = False

        async def ready(self):
            self.opened = True

        async def handle(self, x):
            if not self.opened:
                raise RuntimeError("not ready")

    for factory in (lambda: AgentOptions(handler=abs), Handles, lambda: str):
        assert measure(factory, [-1], **FEW).success == "ok 3/3"


def test_memory_is_what_the_kernel_tells_of_a_plain_process() -> None:
    # Asked by a small process: a child's account begins with what its parent held at most.
    code = (
        "import resource, subprocess, sys\n"
        "code = \"x = bytearray(b'x') * (300 << 20)\"\n"
        "subprocess.run([sys.executable, '-c', code], check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout

    def large():
        return bytearray(b"x") * (300 << 20)

    m = measure(large, function=True, **FEW)
    assert m.peak_rss.median == pytest.approx(int(told) * 1024, rel=0.1)
