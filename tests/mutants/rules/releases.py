"""What belongs to a release, and what one agent's modules do to the others (N19)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import RELEASES, RELOAD, RELOADING, SIMULATE

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "an instance that is added while the others are reloaded is reloaded, too",
        "api/reloading.py",
        "Reloading._go_over",
        """
        with self._next_from(target, name, keep=keep):
            change.run()
        """,
        """
        with self._next_from(target, name, keep=keep):
            pass
        """,
        (RELOAD + "an_instance_that_is_added_at_the_last_moment_is_replaced",),
    ),
    Mutant(
        "after a reload that failed new instances come from the release before",
        "api/reloading.py",
        "Reloading._next_from",
        "each.release = old",
        "pass",
        (RELOAD + "an_instance_that_is_added_at_the_last_moment_may_end_the_reload",),
    ),
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
    # ---- a reload
    Mutant(
        "a successor takes over from an idle process alone",
        "supervision/beside.py",
        "may_take_over",
        "not a.process.inflight",
        "True",
        (RELOADING + "a_successor_does_not_take_over_from_a_process_that_works",),
    ),
    Mutant(
        "a successor takes over when it is ready",
        "supervision/beside.py",
        "may_take_over",
        "successor.ready_at is not None",
        "True",
        (SIMULATE,),
    ),
    Mutant(
        "the release goes back when its first process does not start",
        "supervision/beside.py",
        "failed",
        """
        if a.trial is not None:
            a.release, a.trial = a.trial, None
        """,
        "",
        (RELOAD + "instances_that_were_replaced_go_back_when_a_later_one_fails",),
    ),
    Mutant(
        "a failed start of a new release is no matter of the policy",
        "supervision/starting.py",
        "exited",
        "a.trial is not None and a.process.release == a.release",
        "False",
        (RELOADING + "no_policy_is_asked_when_a_new_release_does_not_start",),
    ),
    Mutant(
        "one reload of an instance at a time",
        "supervision/reloading.py",
        "_refusal",
        "a.attempt is not None or a.beside is not None",
        "False",
        (SIMULATE,),
    ),
    Mutant(
        "a process beside the current one has a time limit",
        "supervision/beside.py",
        "press",
        "core.timers.arm((Due.BESIDE, a.key), core.now + time_of(a, stage))",
        "",
        (SIMULATE,),
    ),
    Mutant(
        "an instance ends after both of its processes",
        "supervision/ending.py",
        "exited",
        "a.is_gone",
        "True",
        (SIMULATE,),
    ),
    Mutant(
        "an end of the agent ends its reload",
        "supervision/ending.py",
        "leave",
        "beside.leave(core, a, _ending(a))",
        "",
        (SIMULATE,),
    ),
    Mutant(
        "replaced instances go back when a later one fails",
        "api/rolling.py",
        "RollingChange.run",
        "self._go_back()",
        "",
        (RELOAD + "instances_that_were_replaced_go_back_when_a_later_one_fails",),
    ),
    Mutant(
        "a state is not held twice",
        "api/rolling.py",
        "RollingChange._one",
        "stop_first = instance.checkpoint is not None",
        "stop_first = False",
        (RELOAD + "state_goes_over_by_checkpoint_and_the_old_process_has_ended_by_then",),
    ),
    Mutant(
        "a new process that does not start leaves no state behind",
        "runtime/effects.py",
        "ActionRunner._launch",
        "action.beside or action.release != instance.release",
        "False",
        (RELOAD + "a_checkpoint_of_a_new_process_that_does_not_start_is_dropped",),
    ),
    Mutant(
        "the state that a new process stored while it started is kept when it takes over",
        "runtime/instance_runtime.py",
        "InstanceRuntime.serves",
        "self.checkpoint = self.successor_checkpoint or self.checkpoint",
        "",
        (RELOAD + "the_checkpoint_of_the_new_process_stays_when_the_old_one_stores_its_own",),
    ),
    Mutant(
        "the state that an old process stores after it was replaced is dropped",
        "runtime/instance_runtime.py",
        "InstanceRuntime.keep_checkpoint",
        "generation == self.generation",
        "True",
        (RELOAD + "the_checkpoint_of_the_new_process_stays_when_the_old_one_stores_its_own",),
    ),
    Mutant(
        "a release that nobody uses is given up",
        "api/reloading.py",
        "Reloading._retire_unused",
        "monitor.retire(release)",
        "pass",
        (RELOAD + "a_crash_after_a_reload_stays_on_the_new_release",),
    ),
)
