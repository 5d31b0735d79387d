"""Changes of agents that run: other settings, a pause, a way back, a look at what they do."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import CONFIGURING, PAUSING, ROLLBACK, STACK

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a process that was started for one request at a time gets no second one",
        "supervision/instance.py",
        "Instance.credit",
        "not process.sends_ahead",
        "False",
        (CONFIGURING + "a_process_that_was_started_for_one_request_gets_no_second_one",),
    ),
    Mutant(
        "whether a process waits after an error was decided at its start",
        "supervision/dispatch.py",
        "answered",
        "a.process.sends_ahead",
        "a.settings.sends_ahead",
        (CONFIGURING + "a_process_that_waits_after_an_error_is_told_to_go_on",),
    ),
    Mutant(
        "an end that has begun keeps its links",
        "supervision/configuring.py",
        "_unless_ending",
        "team.parent is not None and team.parent.leaving",
        "False",
        (CONFIGURING + "an_end_that_has_begun_goes_on_with_its_links",),
    ),
    Mutant(
        "an end finishes what waits in a pause",
        "supervision/teams.py",
        "leave",
        "holding.set_paused(core, team.key, paused=False)",
        "",
        (PAUSING + "an_end_finishes_what_was_accepted",),
    ),
    Mutant(
        "a pause takes back what was sent ahead",
        "supervision/holding.py",
        "set_paused",
        "a.process.ahead and a.process.gives_back",
        "False",
        (PAUSING + "what_was_sent_ahead_is_taken_back",),
    ),
    Mutant(
        "a release that is kept is not retired",
        "api/reloading.py",
        "Reloading._retire_unused",
        "used.update((entry.release, entry.before))",
        "used.add(entry.release)",
        (ROLLBACK + "agents_go_back_on_their_own_or_together",),
    ),
    Mutant(
        "an agent goes back once",
        "api/reloading.py",
        "Reloading._next_from",
        "each.before = old if keep else None",
        "each.before = old",
        (ROLLBACK + "an_agent_goes_back_to_the_release_that_was_kept",),
    ),
    Mutant(
        "a stack that was read on request is not that of a later crash",
        "launch/stacks.py",
        "StackReader._look",
        "self._mark_read()",
        "",
        (STACK + "a_process_that_is_blocked_in_native_code",),
    ),
)
