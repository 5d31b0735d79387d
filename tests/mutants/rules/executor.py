"""The executor and pools: inputs, shutdown, and who reads the results."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import EXECUTOR, READING, REENTRANCE, SHUTDOWN

MUTANTS: tuple[Mutant, ...] = (
    # ---- inputs, shutdown, and what a close waits for
    Mutant(
        "an input that is waited for keeps no result back",
        "pool/results.py",
        "Results.__init__",
        "isinstance(items, NEVER_WAITS)",
        "True",
        (READING + "an_input_that_waits_for_results_gets_them_on_an_event_loop",),
    ),
    Mutant(
        "futures: a handler finds the socket that its thread reads given back",
        "futures/socket_readers.py",
        "give_back",
        "back()",
        "pass",
        (REENTRANCE + "a_pool_and_handles_in_signal_handlers",),
    ),
    Mutant(
        "executor: what follows a failure is sent again without a reader",
        "executor/mapping.py",
        "MapChunk.settled",
        "self.reply.failure is None or alone",
        "True",
        (SHUTDOWN + "failures_in_a_map_that_nobody_reads_cost_no_other_call",),
    ),
    Mutant(
        "executor: a shutdown waits for the first orders of an input",
        "executor/closing.py",
        "Closing.input_opened",
        "self._inputs.add(source)",
        "pass",
        (SHUTDOWN + "a_buffer_that_nobody_reads_is_done",),
    ),
    Mutant(
        "executor: an input that is cancelled is not waited for",
        "executor/closing.py",
        "Closing.shutdown",
        """
        self._inputs.clear()
        self._wake_if_idle()
        """,
        "",
        (SHUTDOWN + "a_shutdown_waits_for_no_input_that_is_cancelled_or_was_read_from",),
    ),
    Mutant(
        "executor: what an input sends when its map was left is cancelled",
        "executor/feeding.py",
        "InputSender.send",
        """
        if self._closed:
            self._cancel_sent()
        """,
        "",
        (SHUTDOWN + "what_is_sent_when_its_map_was_left_is_cancelled",),
    ),
    Mutant(
        "executor: the thread of an input ends when its map is lost",
        "pool/input_reader.py",
        "InputReader.__del__",
        "self._orders.put(None)",
        "pass",
        (SHUTDOWN + "the_thread_of_an_input_ends_with_its_map",),
    ),
    Mutant(
        "executor: calls that a worker gives back are sent again",
        "executor/mapping.py",
        "Sender.given_back",
        "[] if self._sizes is None else self.again(calls.part(reply.count()))",
        "[]",
        (EXECUTOR + "calls_that_a_worker_gives_back_are_made_by_another_one",),
    ),
    Mutant(
        "executor: a shutdown waits until the calls of a map have been sent",
        "executor/adaptive.py",
        "Feeder.__init__",
        "sender.closing.input_opened(self)",
        "",
        (SHUTDOWN + "a_map_that_nobody_reads_is_done",),
    ),
    Mutant(
        "executor: a map that was left sends no more calls",
        "executor/adaptive.py",
        "Feeder.close",
        "self.sender.wanted = False",
        "",
        (SHUTDOWN + "leaving_a_map_cancels_what_was_not_begun",),
    ),
    Mutant(
        "executor: cancel_futures asks the monitor what has begun",
        "supervision/requests.py",
        "cancel",
        "not (event.waiting and request.worker is not None)",
        "True",
        (SHUTDOWN + "cancel_futures_ends_nothing_that_has_begun",),
    ),
    Mutant(
        "executor: a submit that a shutdown came into is refused",
        "executor/agent_executor.py",
        "AgentExecutor.submit",
        "self._shut_down",
        "False",
        (SHUTDOWN + "a_signal_handler_may_shut_down_in_the_middle_of_a_submit",),
    ),
    Mutant(
        "pool: a close waits for the outcomes first",
        "pool/agent_pool.py",
        "AgentPool.close",
        "self._orchestrator.await_quiet(timeout)",
        "pass",
        (SHUTDOWN + "limits_of_a_worker_hold_to_the_end",),
    ),
)
