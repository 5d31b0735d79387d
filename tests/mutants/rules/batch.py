"""Batches: their input, their journal, their end."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, TextMutant
from tests.mutants.suites import FAILED_ITEMS, PIPES, RECHECK, SIGNALS

MUTANTS: tuple[Mutant | TextMutant, ...] = (
    # ---- signals to a command: a batch ends in time, whatever holds it up
    Mutant(
        "SIGTERM gives a batch no longer than its grace",
        "cli/signals.py",
        "Drain.look",
        "time.monotonic() >= self._hurry_at",
        "False",
        (SIGNALS + "after_the_grace_what_is_under_way_is_left_to_the_next_run",),
    ),
    Mutant(
        "a batch whose main thread is held up ends all the same",
        "cli/signals.py",
        "Drain._limit",
        "os._exit(self.code or ExitCode.SOME_FAILED)",
        "return",
        (SIGNALS + "a_reader_that_has_stopped_reading_does_not_hold_up_the_end",),
    ),
    Mutant(
        "an ignored hang-up stays ignored",
        "cli/signals.py",
        "_handled",
        "number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN",
        "True",
        (SIGNALS + "a_hang_up_that_was_ignored_at_the_start_stays_ignored",),
    ),
    # ---- the input of a batch
    Mutant(
        "input: a non-blocking pipe is waited for",
        "batch/readers.py",
        "_next_chunk",
        "readable.poll()",
        'return b""',
        (PIPES + "a_non_blocking_pipe_is_waited_for",),
    ),
    Mutant(
        "input: whatever ends the reading thread is told",
        "batch/reader_thread.py",
        "ReaderThread._read",
        "BaseException",
        "OSError",
        (PIPES + "whatever_the_input_raises_ends_the_batch_with_it",),
    ),
    Mutant(
        "input: compared at the end with what it was",
        "batch/input_check.py",
        "InputCheck.confirm",
        "self._same and now is not None and now == self._scan.state and not self._found.any()",
        "not self._found.any()",
        (
            RECHECK + "a_file_that_changes_when_it_was_read_already",
            RECHECK + "files_of_a_folder_that_come_go_and_change",
        ),
    ),
    Mutant(
        "input: compared while it is read as well",
        "batch/input_check.py",
        "InputCheck._read",
        "self._found.look(item, self._scan.digests, missing)",
        "True",
        (RECHECK + "a_file_that_changed_and_changed_back_is_noticed",),
    ),
    Mutant(
        "input: no more is run than was checked",
        "batch/input_check.py",
        "InputCheck._read",
        "itertools.islice(everything, self._scan.read)",
        "everything",
        (RECHECK + "of_very_many_items_none_is_run_that_is_new",),
    ),
    Mutant(
        "input: the reading thread finds room when the batch has ended",
        "batch/reader_thread.py",
        "ReaderThread.close",
        "self._waiting.get_nowait()",
        "break",
        (PIPES + "a_batch_that_ends_early_reads_no_more",),
    ),
    # ---- the names that a batch derives
    Mutant(
        "failed items: a file of somebody else is left alone",
        "batch/failed_items.py",
        "_is_of",
        """
        if line.batch != batch:
            return False
        """,
        "",
        (
            FAILED_ITEMS + "two_journals_that_share_a_name_of_failed_items_each_keep_theirs",
            FAILED_ITEMS + "a_journal_that_was_removed_leaves_its_failed_items",
        ),
    ),
    # ---- Results: nothing that is read is written over, and one count for all
    TextMutant(
        "salvage: the number of the last runner is given out again",
        "batch/salvage.py",
        "UNION ALL SELECT epoch FROM items UNION ALL SELECT 0",
        "UNION ALL SELECT 0",
        ("tests/batch/test_salvage.py::test_the_number_of_the_last_runner_is_not_given_out_again",),
    ),
    Mutant(
        "merge: a file that came up meanwhile is replaced",
        "batch/merge.py",
        "_put",
        "os.link",
        "os.replace",
        ("tests/batch/test_merge.py::test_a_file_that_came_up_meanwhile_is_not_replaced",),
    ),
    Mutant(
        "export: the journal is written over",
        "cli/export.py",
        "command",
        "output_file.refuse(place, read, stdout=stdout)",
        "",
        ("tests/cli/test_outputs.py::test_stdout_that_is_the_journal_is_refused",),
    ),
    Mutant(
        "batch: only a full disk is waited for",
        "api/storage/disk.py",
        "may_pass",
        "code & 0xFF == sqlite3.SQLITE_FULL or code in _WRITING",
        "code & 0xFF == sqlite3.SQLITE_FULL",
        ("tests/batch/test_disks.py::test_a_limit_on_the_size_of_files_is_waited_for",),
    ),
    Mutant(
        "journal: the mode of a new file is changed before it has tables",
        "api/storage/files.py",
        "connect",
        'connection.execute("PRAGMA synchronous = FULL")',
        'connection.execute("PRAGMA journal_mode = WAL")',
        (
            "tests/faults/test_half_made.py::test_a_kill_at_any_call_leaves_a_file_that_the_next_"
            "one_can_use",
        ),
    ),
    Mutant(
        "batch: items that left the input are not noted",
        "batch/loop.py",
        "BatchLoop._finish",
        "self._store.note_removed_items(self.tally.ok + self.tally.failed)",
        "pass",
        ("tests/cli/test_batch.py::test_items_that_left_the_input_are_counted_apart_everywhere",),
    ),
    Mutant(
        "failed items: a name is taken without a look",
        "batch/failed_items.py",
        "_put",
        "os.O_CREAT | os.O_EXCL",
        "os.O_CREAT",
        (FAILED_ITEMS + "a_file_of_the_user_is_left_alone",),
    ),
    Mutant(
        "journal: the lock of somebody else is left alone",
        "api/storage/lock.py",
        "Lock._must_be_a_lock",
        "text and _holder(text) is None",
        "False",
        (FAILED_ITEMS + "a_lock_file_of_another_tool_is_left_alone",),
    ),
    Mutant(
        "journal: what comes after the end of the writer is not waited for",
        "batch/loop.py",
        "BatchLoop._write",
        "not self._writer_lives",
        "False",
        (
            "tests/batch/test_lost_journal.py::test_an_outcome_that_comes_after_the_end_of_the_"
            "journal_is_not_waited_for",
        ),
    ),
    # ---- evaluations
    Mutant(
        "scores: the output of a scored agent stays what it is",
        "batch/loop.py",
        "BatchLoop._answered",
        "isinstance(output, Scored)",
        "False",
        ("tests/batch/test_scores.py::test_outputs_are_scored_and_stay_what_they_are",),
    ),
    Mutant(
        "scores: an item that fails is worse than one with any score",
        "batch/scores.py",
        "_is_better",
        "before[0] != after[0]",
        "False",
        ("tests/batch/test_scores.py::test_runs_are_compared_item_by_item",),
    ),
)
