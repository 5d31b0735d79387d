"""What a daemon promises its users: reloads, starts, and who may talk to it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import RELOADS

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "all agents that a reload replaces share a release",
        "daemon/reloading.py",
        "Reloader.apply",
        "release = self._roll(specs[name], release, left(end))",
        "release = self._roll(specs[name], None, left(end))",
        (RELOADS + "a_reload_is_one_release_with_one_zygote_for_all_that_it_replaces_and_adds",),
    ),
    Mutant(
        "an agent that a reload adds gets the code of its release",
        "daemon/reloading.py",
        "Reloader.apply",
        "self.release = self._orchestrator.add_from(release)",
        "self.release = release or self.release + 1",
        (RELOADS + "a_reload_is_one_release_with_one_zygote_for_all_that_it_replaces_and_adds",),
    ),
    Mutant(
        "the zygote of a release that nobody uses any more ends with its last agent",
        "api/orchestrator.py",
        "AgentOrchestrator.remove",
        "self._one_user_less()",
        "",
        (RELOADS + "a_reload_is_one_release_with_one_zygote_for_all_that_it_replaces_and_adds",),
    ),
)
