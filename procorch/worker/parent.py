"""The worker's line to its parent: requests come in, and what the agent asks others goes out.

The main thread reads the line between requests. While a request runs, whoever waits for an answer
to a question of its own reads it: the main thread, or a thread that the agent started. One reads,
the others wait for it; what is read for somebody else is left where that one finds it.
"""

from __future__ import annotations

import itertools
import os
import select
import threading
from collections import deque

from procorch.wire.channel import Channel
from procorch.wire.frame import Frame, Kind
from procorch.wire.payload import Parts

_ANSWERS = (Kind.ANSWER, Kind.ANSWER_ERROR)


def wait_for_frame(channel: Channel) -> None:
    """Wait until there is something to read. An interrupt comes out of here, and nowhere below."""
    poll = select.poll()  # `select.select` refuses descriptors from 1024 on, and ours may be one
    poll.register(channel, select.POLLIN)
    poll.poll()


class Line:
    """Frames to and from the parent; safe to use from any thread of the worker.

    Args:
        generation: goes with every frame.
    """

    def __init__(self, channel: Channel, generation: int) -> None:
        self._channel = channel
        self._generation = generation
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._someone_reads = False
        self._answers: dict[int, Frame] = {}
        self._rest: deque[Frame] = deque()
        self._numbers = itertools.count(1)
        self._closed = False

    def send(self, kind: Kind, number: int, head: bytes, body: Parts = ()) -> None:
        """Send a frame. Without a parent there is no use for this process, and it ends."""
        try:
            with self._writing:
                self._channel.send(kind, self._generation, number, head, body)
        except OSError:
            os._exit(1)

    def next_request(self) -> Frame | None:
        """What the parent wants next; None when it is gone."""
        return self._receive(None)

    def ask(self, head: bytes, body: Parts) -> Frame | None:
        """Put a question and wait for its answer; None when the parent is gone."""
        number = next(self._numbers)
        self.send(Kind.ASK, number, head, body)
        return self._receive(number)

    def _receive(self, answer: int | None) -> Frame | None:
        """Wait for the answer of that number, or for a frame that is no answer."""
        while True:
            with self._changed:
                while True:
                    if answer is not None and answer in self._answers:
                        return self._answers.pop(answer)
                    if answer is None and self._rest:
                        return self._rest.popleft()
                    if self._closed:
                        return None
                    if not self._someone_reads:
                        break
                    self._changed.wait()
                self._someone_reads = True
            frame = None
            try:
                if not self._channel.has_frame:
                    wait_for_frame(self._channel)
                frame = self._channel.receive_one()
            finally:
                # Also when a cancelled request is torn out of here: the next reader goes on.
                with self._changed:
                    self._someone_reads = False
                    if frame is not None and frame.kind in _ANSWERS:
                        self._answers[frame.request] = frame
                    elif frame is not None:
                        self._rest.append(frame)
                    else:
                        self._closed = self._channel.eof
                    self._changed.notify_all()
