"""Agents with several instances: what concerns one of them, and what concerns all."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import INSTANCES, SCALING, SIMULATE, WAITS

MUTANTS: tuple[Mutant, ...] = (
    # ---- N4, N5: the agent in its tree
    Mutant(
        "an agent goes on while one instance is left",
        "supervision/teams.py",
        "lost",
        "not team.leaving and not team.serving",
        "not team.leaving",
        (INSTANCES + "an_agent_goes_on_while_one_instance_is_left", SIMULATE),
    ),
    Mutant(
        "an agent has ended when its last instance has",
        "supervision/ending.py",
        "finish",
        "a.team.leaving and not a.team.members",
        "a.team.leaving",
        (INSTANCES + "a_stop_finishes_the_queue_with_all_instances_children_first",),
    ),
    Mutant(
        "children are restarted with all instances of their parent only",
        "supervision/tree.py",
        "cycle",
        "not all(member.key in chosen for member in above.serving)",
        "False",
        (INSTANCES + "children_are_restarted_with_all_instances_of_their_parent_and_not_with_one",),
    ),
    Mutant(
        "a group restart is one of all instances",
        "supervision/tree.py",
        "cycle",
        "(member.key for team in group for member in team.members)",
        "(team.members[0].key for team in group)",
        (INSTANCES + "a_group_restart_is_one_of_all_instances_of_its_members",),
    ),
    Mutant(
        "the instances of an agent start together in a group restart",
        "supervision/groups.py",
        "begin_starts",
        "member.team is members[0].team and member.phase is Phase.HELD",
        "member is members[0] and member.phase is Phase.HELD",
        (INSTANCES + "a_group_restart_is_one_of_all_instances_of_its_members",),
    ),
    Mutant(
        "the instances of an agent wait for the backoff of their group",
        "supervision/groups.py",
        "begin_starts",
        "members and members[0].phase is not Phase.BACKOFF",
        "members",
        (INSTANCES + "all_instances_wait_for_the_backoff_of_their_group",),
    ),
    Mutant(
        "the instances of an agent start after the backoff of their group",
        "supervision/replacing.py",
        "backoff_over",
        "groups.begin_starts(core, a.cycle)",
        "pass",
        (INSTANCES + "instances_start_together_after_the_backoff_of_their_group",),
    ),
    Mutant(
        "a busy instance of the agent that failed is not waited for",
        "supervision/replacing.py",
        "retire",
        "a.cycle.failed != a.key",
        "a.cycle.blame != a.name",
        (INSTANCES + "a_busy_instance_of_the_one_that_failed_is_terminated",),
    ),
    Mutant(
        "all instances stop when their intensity is exceeded",
        "supervision/failing.py",
        "_stop_group",
        "_end_with(core, a, error)",
        "pass",
        (INSTANCES + "the_intensity_counts_the_restarts_of_all_instances",),
    ),
    Mutant(
        "an agent beyond its intensity ends FAILED",
        "supervision/failing.py",
        "_end_with",
        "a.team.final = (AgentStatus.FAILED, _stopped(a, error))",
        "",
        (
            INSTANCES + "the_intensity_counts_the_restarts_of_all_instances",
            INSTANCES + "an_agent_that_exceeds_its_intensity_has_ended_by_itself",
        ),
    ),
    Mutant(
        "a policy that restarts the parent means all its instances",
        "supervision/failing.py",
        "reconsidered",
        "replace(core, a, counted=True, whole=True)",
        "replace(core, a, counted=True)",
        (INSTANCES + "a_policy_that_restarts_the_parent_restarts_all_its_instances",),
    ),
    Mutant(
        "a policy that stops the parent means all its instances",
        "supervision/failing.py",
        "reconsidered",
        "_end_with(core, a, _first(event.fault, event.error))",
        "",
        (INSTANCES + "a_policy_that_stops_the_parent_stops_all_its_instances",),
    ),
    # ---- N7: the end of all
    Mutant(
        "an agent without instances ends after its children",
        "supervision/teams.py",
        "end_empty",
        "tree.in_turn(team, stopped=team.final[0] is AgentStatus.STOPPED)",
        "True",
        (INSTANCES + "an_agent_without_instances_ends_after_its_children", SIMULATE),
    ),
    Mutant(
        "an agent without instances looks again when its child has ended",
        "supervision/teams.py",
        "finish",
        "core.defer(other, end_empty)",
        "",
        (INSTANCES + "an_agent_without_instances_ends_after_its_children", SIMULATE),
    ),
    Mutant(
        "an agent whose last instance leaves is ended with its own status",
        "supervision/teams.py",
        "leave",
        "team.final = (status, Aborted(agent=team.name) if core.closing else None)",
        """
        if team.members:
            return
        team.final = (status, Aborted(agent=team.name) if core.closing else None)
        """,
        (INSTANCES + "an_agent_without_instances_ends_when_it_is_told_to", SIMULATE),
    ),
    # ---- fewer and more of them
    Mutant(
        "an instance that is retired does not wait for its turn",
        "supervision/tree.py",
        "may_end",
        "not a.team.leaving or in_turn(a.team, stopped=a.draining is AgentStatus.STOPPED)",
        "in_turn(a.team, stopped=True)",
        (INSTANCES + "an_instance_that_is_retired_does_not_wait_for_children",),
    ),
    Mutant(
        "requests wait where all instances were retired",
        "supervision/teams.py",
        "lost",
        "team.empty or a.draining is not None",
        "team.empty",
        (INSTANCES + "requests_wait_for_the_next_instance_where_all_were_retired",),
    ),
    Mutant(
        "an agent without instances survives a failed start",
        "supervision/teams.py",
        "lost",
        "team.empty or a.draining is not None",
        "a.draining is not None",
        (INSTANCES + "an_agent_without_instances_stays_when_a_new_one_does_not_start",),
    ),
    Mutant(
        "an agent that has an instance again may fail",
        "supervision/starting.py",
        "ready",
        "a.team.empty = False",
        "",
        (INSTANCES + "the_last_instance_that_fails_ends_the_agent_again_after_it_had_none",),
    ),
    Mutant(
        "an agent that ends takes no more instances",
        "supervision/starting.py",
        "_refusal",
        "not team.leaving",
        "True",
        (INSTANCES + "an_agent_that_ends_takes_no_more_instances",),
    ),
    Mutant(
        "an agent that has ended is not begun again",
        "supervision/starting.py",
        "_refusal",
        "event.joins",
        "False",
        (INSTANCES + "an_agent_that_has_ended_is_not_begun_again", SIMULATE),
    ),
    Mutant(
        "scale: nothing has changed when one cannot start",
        "api/scaling.py",
        "_add",
        """
        if instance in agent.instances:
            agent.instances.remove(instance)
        """,
        "",
        (SCALING + "a_new_instance_that_cannot_start_changes_nothing",),
    ),
    Mutant(
        "scale: a slot whose instance leaves is missing",
        "api/scaling.py",
        "resize",
        "{each.slot for each in agent.live() if not each.retired}",
        "{each.slot for each in agent.live()}",
        (SCALING + "scaling_down_lets_the_highest_slots_finish",),
    ),
    Mutant(
        "scale: an instance that was retired has no row any more",
        "runtime/effects.py",
        "ActionRunner._finish",
        "instance.agent.instances.remove(instance)",
        "pass",
        (SCALING + "scaling_down_lets_the_highest_slots_finish",),
    ),
    Mutant(
        "drain: an instance that waits for its turn takes no request that comes back",
        "supervision/core.py",
        "_take_over",
        "core.enter(a, Phase.WAITING)",
        "pass",
        (INSTANCES + "one_that_had_nothing_left_to_do_serves_what_another_leaves_behind",),
    ),
    # ---- N16: who asks an agent with several instances
    Mutant(
        "an agent that waits for one that can answer, can answer",
        "supervision/wait_graph.py",
        "WaitGraph._answered",
        "able += agents_of[key]",
        "pass",
        (WAITS + "an_agent_answers_if_the_one_that_it_waits_for_can",),
    ),
)
