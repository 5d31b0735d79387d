"""Events for those who watch, endless work, the main program, and places of workers."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import EVENT_DATA

MUTANTS: tuple[Mutant, ...] = (
    # ---- N18: events
    Mutant(
        "events of requests are not made when nobody watches",
        "runtime/open_requests.py",
        "OpenRequests.resolve",
        "self._hub.of_requests",
        "True",
        (EVENT_DATA + "requests_whose_events_nobody_wants_do_nothing_for_events",),
    ),
    Mutant(
        "a stream without requests does not make requests dearer",
        "futures/watch.py",
        "EventHub._change",
        "self.of_requests = tuple(stream for stream in streams if stream.requests)",
        "self.of_requests = tuple(streams)",
        (
            EVENT_DATA + "requests_whose_events_nobody_wants_do_nothing_for_events",
            EVENT_DATA + "a_stream_without_requests_still_tells_of_everything_else",
        ),
    ),
    Mutant(
        "an event of a failure counts what was used once",
        "worker/lifecycle.py",
        "Worker._answer",
        "paid is None",
        "True",
        (EVENT_DATA + "what_an_answer_that_cannot_be_sent_has_used_counts_once",),
    ),
    Mutant(
        "the event of a chunk has what all its items have used",
        "worker/chunk.py",
        "ChunkRun.run",
        "self._tally.add(output)",
        "",
        (EVENT_DATA + "the_events_of_chunks_have_what_all_their_items_have_used",),
    ),
)
