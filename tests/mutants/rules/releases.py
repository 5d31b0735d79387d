"""What belongs to a release, and what one agent's modules do to the others (N19)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import RELEASES

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "the modules of a factory are loaded once for a release",
        "launch/forkserver/root.py",
        "Root.place",
        "not code.imports or code in self._unfit",
        "True",
        (RELEASES + "a_crash_in_the_middle_of_a_deployment_restarts_on_the_release",),
    ),
    Mutant(
        "a branch that imports for nobody is killed",
        "launch/forkserver/branch.py",
        "Branch.forget",
        "self._kill()",
        "",
        (RELEASES + "a_module_whose_import_hangs_delays_no_other_agent",),
    ),
    Mutant(
        "a branch that has a thread is not forked",
        "launch/forkserver/importing.py",
        "_import",
        "return preloading.cannot_be_forked(threads)",
        "return None",
        (RELEASES + "what_no_fork_can_share_is_imported_by_each_worker",),
    ),
    Mutant(
        "what a module changes in its environment stays",
        "worker/settling.py",
        "settle",
        "again = _paths is not None",
        "again = False",
        (RELEASES + "a_module_is_imported_with_the_settings_of_its_agent",),
    ),
    Mutant(
        "exit handlers of a module run in its workers",
        "launch/forkserver/server.py",
        "ForkServer._become_worker",
        "not self._branch",
        "True",
        (RELEASES + "exit_handlers_of_a_module_run_in_its_workers",),
    ),
)
