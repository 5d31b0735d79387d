"""The machine's tables: complete, true of what happens, and drawn in the docs as they are."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from procorch.supervision import diagram, machine
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.machine import ENTRIES, ONWARD, TRANSITIONS, TREE, Machine, Rule
from procorch.supervision.states import Phase
from tests.simulate.world import World

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "supervision.md"
BEGIN, END = "<!-- state diagram -->\n", "\n<!-- end of state diagram -->"

OF_THE_WHOLE = {
    ev.Spawn, ev.SpawnTogether, ev.Submit, ev.SetWidth, ev.SetPaused, ev.Configure,
    ev.CancelRequest, ev.Close, ev.Tick, Due.REQUEST, Due.CLOSE, Due.FLOW, Due.TAKE_BACK,
}  # fmt: skip
"""Inputs and timers that are not about one instance: `Machine.step` takes them itself."""

EVENTS = [what for what in (*ev.Event.__args__, *Due) if what not in OF_THE_WHOLE]
PAIRS = {(phase, event) for phase in Phase for event in EVENTS}
IGNORED = [
    (phase, event) for row in diagram.IGNORED for phase in row.phases for event in row.events
]


def test_every_event_in_every_phase_is_in_the_table_or_documented_as_ignored() -> None:
    assert set(TRANSITIONS) | set(IGNORED) == PAIRS


def test_nothing_is_both_in_the_table_and_ignored() -> None:
    assert set(TRANSITIONS) & set(IGNORED) == set()


def test_nothing_is_ignored_for_two_reasons() -> None:
    assert [pair for pair, times in Counter(IGNORED).items() if times > 1] == []


def test_every_phase_has_an_entry_action_and_ways_on() -> None:
    assert set(ENTRIES) == set(ONWARD) == set(TREE) == set(Phase)


def test_every_phase_is_reachable_and_none_but_the_last_is_a_trap() -> None:
    ways = {phase: {*ONWARD[phase], *TREE[phase]} for phase in Phase}
    for (phase, _), rule in TRANSITIONS.items():
        ways[phase] |= rule.enters
    assert reached_from(Phase.WAITING, ways) == set(Phase)
    for phase in Phase:
        assert Phase.DONE in reached_from(phase, ways)
    assert ways[Phase.DONE] == set()


def reached_from(start: Phase, ways: dict[Phase, set[Phase]]) -> set[Phase]:
    reached, ahead = set(), [start]
    while ahead:
        phase = ahead.pop()
        if phase not in reached:
            reached.add(phase)
            ahead += ways[phase]
    return reached


@dataclass(eq=False)
class Handling:
    """A handler at work; ``entered``: it has taken its instance to a phase."""

    a: Instance
    pair: tuple[Phase, Any]
    entered: bool = False


class Watch:
    """Compares every change of a phase with the tables."""

    def __init__(self) -> None:
        self.handling: list[Handling] = []
        self.wrong: set[tuple[Any, ...]] = set()

    def handler(
        self, pair: tuple[Phase, Any], handle: Callable[[Core, Instance, Any], None]
    ) -> Callable[[Core, Instance, Any], None]:
        def watched(core: Core, a: Instance, event: Any) -> None:
            self.handling.append(Handling(a, pair))
            handle(core, a, event)
            self.handling.pop()

        return watched

    def enters(self, a: Instance, phase: Phase) -> None:
        now = self.handling[-1] if self.handling else None
        if now is not None and now.a is a and not now.entered:
            now.entered = True  # What follows is the doing of the phase's entry action.
            if phase not in TRANSITIONS[now.pair].enters:
                self.wrong.add((*now.pair, phase))
        elif phase is not a.phase and phase not in (*ONWARD[a.phase], *TREE[a.phase]):
            self.wrong.add((a.phase, "onward", phase))


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    for pair, rule in list(TRANSITIONS.items()):
        wrapped = Rule(watch.handler(pair, rule.handler), rule.enters)
        monkeypatch.setitem(machine.TRANSITIONS, pair, wrapped)
    enter = Core.enter

    def watched(self: Core, a: Instance, phase: Phase) -> None:
        watch.enters(a, phase)
        enter(self, a, phase)

    monkeypatch.setattr(Core, "enter", watched)
    return watch


def test_no_phase_changes_otherwise_than_by_the_tables(watch: Watch) -> None:
    for seed in range(400):
        World(seed).play()
    assert watch.wrong == set()


@pytest.mark.parametrize(("phase", "event"), sorted(IGNORED, key=str), ids=str)
def test_what_is_ignored_changes_nothing(phase: Phase, event: Any, bench: Any) -> None:
    key = bench.running()
    a = bench.machine.instances.get(key)
    a.phase = phase
    before = {name: getattr(a, name) for name in Instance.__slots__}
    core = bench.machine._core
    core.out = []
    Machine._handle(bench.machine, a, event if isinstance(event, Due) else blank(event, a))
    assert {name: getattr(a, name) for name in Instance.__slots__} == before
    assert core.out == []


def blank(event: type, a: Instance) -> Any:
    """An event of that type that nothing but its type says anything about."""
    given = {
        "key": a.key,
        "agent": a.mailbox,
        "generation": a.generation,
        "grace": 1.0,
        "ticket": a.ticket,
    }
    fields = event.__struct_fields__[
        : len(event.__struct_fields__) - len(event.__struct_defaults__)
    ]
    return event(**{name: given.get(name) for name in fields})


# ---- the docs


def test_the_docs_show_the_tables_as_they_are() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert BEGIN in text, "docs/reference/supervision.md has lost its marker"
    shown = text.split(BEGIN)[1].split(END)[0]
    assert shown == diagram.page(), (
        "replace the part of docs/reference/supervision.md between the markers "
        "by what `python -m procorch.supervision.diagram` prints"
    )


def test_the_module_prints_what_the_docs_show() -> None:
    command = [sys.executable, "-m", "procorch.supervision.diagram"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == diagram.page() + "\n"


def test_the_diagram_has_every_phase_and_every_kind_of_event_that_moves_it() -> None:
    drawn = diagram.state_diagram()
    for phase in Phase:
        assert f" {phase.name}:" in drawn
    moving = {event for (phase, event), rule in TRANSITIONS.items() if rule.enters - {phase}}
    for event in moving:
        assert diagram.name_of(event) in drawn
