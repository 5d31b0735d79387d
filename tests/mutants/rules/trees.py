"""Links, groups, and the order in which agents end."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import GUARDS, MACHINE, RESTARTS, SIMULATE, TREES

MUTANTS: tuple[Mutant, ...] = (
    # ---- N4, N5: links and groups
    Mutant(
        "a linked child ends with its parent",
        "supervision/teams.py",
        "finish",
        "tree.linked(team, child) and not child.leaving",
        "False",
        (TREES + "a_linked_subtree_stops_when_its_parent_ends_leaves_first", SIMULATE),
    ),
    Mutant(
        "groups go down in reverse order",
        "supervision/groups.py",
        "advance",
        "reversed(group.members)",
        "list(group.members)",
        (TREES + "a_group_goes_down_in_reverse_order_and_up_in_order",),
    ),
    Mutant(
        "a group goes down one after the other",
        "supervision/groups.py",
        "advance",
        """
        if going is not None and member.team is not going:
            break
        """,
        "",
        (GUARDS + "each_member_has_gone_before_the_next_one_goes_down",),
    ),
    Mutant(
        "rest_for_one",
        "supervision/tree.py",
        "cycle",
        "group[group.index(a.team) :]",
        "group[: group.index(a.team) + 1]",
        (TREES + "rest_for_one_restarts_those_started_after_it",),
    ),
    Mutant(
        "a temporary agent is never replaced",
        "supervision/restarts.py",
        "decide",
        "restart, exit, action",
        """
        (
            "transient" if restart == "temporary" and exit is not Exit.DIED else restart,
            exit,
            action,
        )
        """,
        (RESTARTS + "a_temporary_agent_is_never_replaced",),
    ),
    Mutant(
        "auto-shutdown only for an end by itself",
        "supervision/teams.py",
        "finish",
        "alone and team.final[0] in (AgentStatus.COMPLETED, AgentStatus.FAILED)",
        "True",
        (TREES + "a_child_that_was_stopped_shuts_nothing_down",),
    ),
    Mutant(
        "a member that leaves its group restart is forgotten by it",
        "supervision/groups.py",
        "_leave",
        "group.members.remove(a.key)",
        "pass",
        (SIMULATE,),
    ),
    # ---- N7, N15, I5: the end
    Mutant(
        "reverse stop order",
        "supervision/tree.py",
        "in_turn",
        "reversed(team.siblings)",
        "team.siblings",
        (TREES + "close_goes_leaves_first_and_branches_at_the_same_time",),
    ),
    Mutant(
        "may_end: leaves first",
        "supervision/tree.py",
        "in_turn",
        "child.leaving or (stopped and linked(team, child))",
        "False",
        (TREES + "close_goes_leaves_first_and_branches_at_the_same_time", SIMULATE),
    ),
    Mutant(
        "may_end: whoever waited looks again",
        "supervision/teams.py",
        "finish",
        "core.defer(member.key, check_turn)",
        "pass",
        (TREES + "close_goes_leaves_first_and_branches_at_the_same_time", SIMULATE),
    ),
    Mutant(
        "no restart while closing: nobody is asked",
        "supervision/failing.py",
        "ask",
        "not core.closing",
        "True",
        (MACHINE + "nothing_restarts_while_closing", SIMULATE),
    ),
    Mutant(
        "no restart while closing: what is being replaced ends",
        "supervision/replacing.py",
        "retire",
        "core.closing",
        "False",
        (GUARDS + "who_is_being_replaced_is_not_started_by_a_close",),
    ),
    Mutant(
        "no restart while closing: what waits ends",
        "supervision/turns.py",
        "end_if_done",
        "core.closing and (a.phase in _WITHOUT_PROCESS or spared)",
        "False",
        (
            GUARDS + "who_backs_off_is_not_started_by_a_close",
            GUARDS + "who_waits_for_a_start_slot_is_not_started_by_a_close",
            SIMULATE,
        ),
    ),
    Mutant(
        "no restart while closing: group restarts end",
        "supervision/ending.py",
        "close",
        "groups.abandon(a)",
        "",
        (
            GUARDS + "a_close_ends_a_group_restart_and_finishes_what_was_accepted",
            GUARDS + "a_member_that_failed_serves_on_when_a_close_ends_its_group_restart",
        ),
    ),
    Mutant(
        "no start for who is spawned while closing",
        "supervision/starting.py",
        "_refusal",
        "core.closing",
        "False",
        (MACHINE + "an_agent_spawned_while_closing_never_starts", SIMULATE),
    ),
    Mutant(
        "closing twice ends by the earlier deadline",
        "supervision/ending.py",
        "close",
        "min(core.deadline, event.deadline)",
        "event.deadline",
        (GUARDS + "closing_twice_ends_by_the_earlier_deadline",),
    ),
    Mutant(
        "at the deadline what is left is killed",
        "supervision/ending.py",
        "close_overdue",
        "core.stop_process(a, StopStage.KILL)",
        "pass",
        (MACHINE + "at_the_deadline_of_a_close_everything_left_is_killed",),
    ),
    Mutant(
        "a reply completed before a cancel stands",
        "supervision/ending.py",
        "leave",
        "core.resolve(a.pending.request, a.pending.error, a.pending.payload)",
        "core.resolve(a.pending.request, Aborted(agent=a.name))",
        (MACHINE + "a_reply_completed_before_the_cancel_stands",),
    ),
)
