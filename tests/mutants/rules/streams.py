"""Answers that come in pieces."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import STREAM

MUTANTS: tuple[Mutant, ...] = (
    # ---- pieces first, then the end; nobody runs ahead, and nobody waits for nothing
    Mutant(
        "streaming: the pieces come before the end",
        "futures/stream.py",
        "StreamReply.next_piece",
        "self._take(arrived.open)",
        "None if ended else self._take(arrived.open)",
        (
            STREAM + "a_death_in_mid_stream_is_named_after_the_pieces_that_arrived",
            STREAM + "a_stream_that_nobody_reads_ends_at_its_deadline",
        ),
    ),
    Mutant(
        "streaming: the end is its error",
        "futures/stream.py",
        "StreamReply.next_piece",
        """
        if ended:
            break
        """,
        """
        if ended:
            raise StopIteration
        """,
        (
            STREAM + "a_death_in_mid_stream_is_named_after_the_pieces_that_arrived",
            STREAM + "an_error_in_mid_stream_comes_after_the_pieces_too",
        ),
    ),
    Mutant(
        "streaming: the agent waits for its reader",
        "worker/services.py",
        "Services._piece",
        "self._pieces >= _PIECES or self._bytes >= _BYTES",
        "False",
        (STREAM + "a_slow_reader_slows_the_agent_down",),
    ),
    Mutant(
        "streaming: a piece is confirmed when it is read, and not before",
        "futures/stream.py",
        "StreamReply.arrive",
        """
        if self._ended or self._whole_answer:
            self._confirm_all()
        """,
        "self._confirm_all()",
        (STREAM + "a_piece_is_confirmed_once_and_not_before_it_is_read_or_nobody_will",),
    ),
    Mutant(
        "streaming: what nobody will read is confirmed",
        "futures/stream.py",
        "StreamReply._end",
        "self._confirm_all()",
        "",
        (STREAM + "a_piece_is_confirmed_once_and_not_before_it_is_read_or_nobody_will",),
    ),
    Mutant(
        "streaming: what is read is confirmed",
        "futures/stream.py",
        "StreamReply._take",
        "self._confirm_to(number)",
        "pass",
        (STREAM + "a_piece_is_confirmed_once_and_not_before_it_is_read_or_nobody_will",),
    ),
    Mutant(
        "streaming: who wants the whole answer lets the rest come",
        "futures/stream.py",
        "StreamReply._ask_for_whole_answer",
        "self._confirm_all()",
        "",
        (STREAM + "a_slow_reader_slows_the_agent_down",),
    ),
    Mutant(
        "streaming: leaving the block cancels",
        "futures/stream.py",
        "StreamReply.__exit__",
        "self.cancel()",
        "pass",
        (STREAM + "leaving_in_mid_stream_cancels_the_request_and_the_agent_goes_on",),
    ),
    Mutant(
        "streaming: what was read is not sent again",
        "api/sending.py",
        "Sending.stream",
        "Delivery(text, limit, retries=0, wait=wait, trace=trace)",
        "Delivery(text, limit, wait=wait, trace=trace)",
        (STREAM + "a_death_in_mid_stream_is_named_after_the_pieces_that_arrived",),
    ),
    Mutant(
        "streaming: nothing is sent where nobody reads",
        "agents/context.py",
        "Context.begin",
        "self._streaming = streaming",
        "self._streaming = True",
        (STREAM + "nothing_is_sent_where_nobody_reads",),
    ),
    Mutant(
        "streaming: a turn of a model is sent while it comes",
        "agents/model_turns.py",
        "_one_turn",
        "await emit(piece)",
        "pass",
        (STREAM + "the_pieces_come_in_order_and_make_up_the_answer",),
    ),
)
