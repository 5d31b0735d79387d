"""The program that is measured, in its process: performs one order after the other.

Orders and reports are dictionaries of plain data, which `marshal` can carry.
"""

from __future__ import annotations

import os
import sys

from . import executed, loading, meter
from .calls import Caller
from .program import Program, loader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LONG = 1.0
"""Seconds of a run from which on it is not repeated only to learn what its way costs."""


class Subject:
    """Performs orders.

    Args:
        tick: called with the phase and the index of a request, before it is called.
    """

    def __init__(self, tick: Callable[[str, int], None]) -> None:
        self._tell = tick
        self._at: tuple[str, int | None] = ("start", None)
        self._meter = meter.Meter()
        self._program: Program
        self._caller: Caller

    def perform(self, order: dict[str, Any]) -> dict[str, Any]:
        """The report on an order: its figures, an ``error`` of the program, or why it is refused.

        Raises:
            SystemExit: of the program, which ends its process with it.
        """
        actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "load": self._load, "run": self._run, "way": self._way, "close": self._close,
        }  # fmt: skip
        try:
            return actions[order["do"]](order)
        except loading.Refused as refused:
            return {"refused": str(refused)}
        except SystemExit:
            raise
        except BaseException as error:
            return {"error": _described(error, *self._at)}

    def _tick(self, phase: str, index: int) -> None:
        self._at = (phase, index)
        self._tell(phase, index)

    def _load(self, order: dict[str, Any]) -> dict[str, Any]:
        """Find the program and make it ready to be called."""
        if order["cpus"]:
            os.sched_setaffinity(0, order["cpus"])
        if order["path"] is not None:
            sys.path[:] = order["path"]
        _Lender(order["name"])
        if order["program"]:
            found: Any = executed.run
            self._meter = meter.Meter(itself=False)
        elif order["factory"] is not None:
            from procorch.wire import codec

            codec.set_role("worker")
            found = codec.load_factory(order["factory"])
        else:
            found = loading.find(order["app"])
        params = dict(order["params"])
        self._program = program = Program(found, params, order["kind"], order["name"])
        loads = [loader(kind, data) for kind, data in order["requests"]]
        arguments = program.arguments(loads, order["given"])
        self._caller = Caller(program.call, arguments, self._tick)
        self._caller.finish(program.ready())
        return {
            "kind": program.kind,
            "note": program.note,
            "requests": len(arguments),
            "python": f"{sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))}",
            "pid": os.getpid(),
        }

    def _run(self, order: dict[str, Any]) -> dict[str, Any]:
        """Execute all requests, as the first calls of the process and then as warm ones."""
        caller, metered, report = self._caller, self._meter, {}
        caller.slowest = (0.0, 0)
        if order["first"]:
            metered.begin()
            cold = caller.once("cold")
            figures = metered.end()
            report["cold"] = sum(cold)
            report["cold_cpu"] = figures["cpu_user"] + figures["cpu_system"]
            if order["warmup_calls"] == 0:
                return self._reported({**report, **figures, "each": cold, "loops": 1})
            for _ in range(order["warmup_calls"] - 1):
                caller.once("warm")
        metered.begin()
        each = caller.once("warm")
        figures = metered.end()
        loops = order["loops"] or caller.calibrate(sum(each))
        if loops > 1:
            metered.begin()
            each = caller.looped(loops)
            figures = _per_call(figures, metered.end(), loops, caller.net)
        return self._reported({**report, **figures, "each": each, "loops": loops})

    def _reported(self, report: dict[str, Any]) -> dict[str, Any]:
        report["wall"] = sum(report["each"])
        report["rss_after"] = meter.resident()
        report["returned"] = self._caller.returned
        report["slowest"] = self._caller.slowest
        return report

    def _way(self, order: dict[str, Any]) -> dict[str, Any]:
        # The arguments of a program are not sent to it, and it need not be run for them.
        return {"way": None if self._program.call is executed.run else self._caller.way()}

    def _close(self, order: dict[str, Any]) -> dict[str, Any]:
        self._caller.finish(self._program.close())
        return {}


def _per_call(
    single: dict[str, float], looped: dict[str, float], loops: int, net: float
) -> dict[str, float]:
    """The processor time of one call of many; memory is that of the call that was made alone."""
    spread = ("cpu_user", "cpu_system", "children_cpu")
    found = {**single, **{name: looped[name] * net / loops for name in spread}}
    found["page_faults"] = round(looped["page_faults"] / loops)
    return found


class _Lender:
    """Has `procorch.current()` work in this process once the program imports it, and not before.

    Args:
        agent: the name that the program sees.
    """

    def __init__(self, agent: str) -> None:
        self._agent = agent
        current = sys.modules.get("procorch.agents.current")
        if current is None:
            sys.meta_path.insert(0, self)
        elif current.installed() is None:
            self._install(current)

    def _install(self, current: Any) -> None:
        current.install(current.Context(self._agent))

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find `procorch.agents.current` as always, and install a context once it is loaded."""
        if name != "procorch.agents.current":
            return None
        sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        assert spec is not None and spec.loader is not None  # noqa: PT018
        execute = spec.loader.exec_module

        def execute_and_install(module: Any) -> None:
            execute(module)
            self._install(module)

        spec.loader.exec_module = execute_and_install  # type: ignore[method-assign]
        return spec


def _described(error: BaseException, phase: str, request: int | None) -> dict[str, Any]:
    import traceback

    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        text = str(error)
    except Exception as broken:  # its own `__str__` fails: the type still tells something
        text = f"its text cannot be read: {type(broken).__name__}"
    lines = traceback.format_exception(kind, error, error.__traceback__)
    return {
        "type": name,
        "text": text,
        "phase": phase,
        "request": request,
        "traceback": "".join(lines),
        **({"ended": error.code} if isinstance(error, executed.Failed) else {}),
    }
