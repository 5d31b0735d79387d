"""Measuring: what fails costs its own run, and each call is measured alone."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import SESSION

MUTANTS: tuple[Mutant, ...] = (
    # ---- measuring: what fails costs its own run, and each call is measured alone
    Mutant(
        "measuring: a death is told by the socket alone",
        "bench/guard.py",
        "Guard._open",
        "(ours.fileno(), self._death)",
        "(ours.fileno(),)",
        (f"{SESSION}a_death_is_noticed_while_a_forked_child_lives",),
    ),
    Mutant(
        "measuring: one timeout for all calls",
        "bench/guard.py",
        "Guard._wait",
        "self._page[8:16] != seen",
        "False",
        (f"{SESSION}a_timeout_is_of_one_call",),
    ),
    Mutant(
        "measuring: idle programs run on",
        "bench/guard.py",
        "Guard._ask",
        'order["pause"]',
        "False",
        (f"{SESSION}threads_of_one_program_do_not_disturb_the_runs_of_another",),
    ),
    Mutant(
        "measuring: calls share an argument",
        "bench/inside/program.py",
        "Argument.fresh",
        "self.shared",
        "True",
        (f"{SESSION}each_call_gets_an_argument_that_no_other_has_changed",),
    ),
    Mutant(
        "measuring: inner loops after one has failed",
        "bench/session.py",
        "Session._spare_loops",
        "subject.loops = 1",
        "",
        (f"{SESSION}one_that_fails_in_inner_loops_is_called_once_a_run_from_then_on",),
    ),
)
