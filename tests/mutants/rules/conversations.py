"""Named conversations: answers are stored before they are given, one request at a time."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TALK = "tests/process/test_conversations.py::test_"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "conversations: an answer is given when it is stored",
        "futures/kept.py",
        "KeptReply.settle",
        "self.on_outcome(outcome)",
        """
super().settle(outcome)
self.on_outcome(outcome)
""",
        (TALK + "an_answer_is_given_when_it_is_stored",),
    ),
    Mutant(
        "conversations: an answer that is being stored is not cancelled",
        "futures/kept.py",
        "KeptReply.settle",
        'self.__dict__.setdefault("_ended_by", FINISHED) == FINISHED',
        "True",
        (TALK + "an_answer_is_given_when_it_is_stored",),
    ),
    Mutant(
        "conversations: one request at a time",
        "api/conversations/lanes.py",
        "Lanes.next",
        "lane.under_way",
        "False",
        (TALK + "a_conversation_has_one_request_at_a_time_and_others_run_meanwhile",),
    ),
    Mutant(
        "conversations: a turn that waits too long ends",
        "api/conversations/keeper.py",
        "Keeper._take",
        "self._lanes.seconds_left(self._clock)",
        "None",
        (TALK + "a_conversation_has_one_request_at_a_time_and_others_run_meanwhile",),
    ),
    Mutant(
        "conversations: turns that wait are finished by a close",
        "api/lifecycle.py",
        "Lifecycle.close",
        "keeper.await_begun(timeout)",
        "pass",
        (TALK + "closing_finishes_turns_that_wait_or_aborts_them",),
    ),
    Mutant(
        "conversations: the state of an agent that saves itself is not trimmed",
        "api/conversations/file.py",
        "ConversationFile.trim",
        """
run(
    "UPDATE states SET turn = ? WHERE conversation = ? AND turn < ? AND kind IN (?, ?)",
    (oldest, *older, *SELF_SAVED),
)
""",
        "pass",
        (TALK + "agents_without_a_model_keep_their_state_by_load_and_save_or_by_checkpoints",),
    ),
    Mutant(
        "conversations: what is forgotten leaves the log, too",
        "api/conversations/file.py",
        "ConversationFile.settle",
        "disk.make_room(self.connection)",
        "pass",
        (TALK + "what_was_forgotten_is_not_in_the_file",),
    ),
    Mutant(
        "conversations: a turn that is not what was written is not read",
        "api/conversations/reader.py",
        "ConversationReader._must_be",
        "known != files.seal(columns)",
        "False",
        (TALK + "a_damaged_turn_is_told_and_others_go_on",),
    ),
)
