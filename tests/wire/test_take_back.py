"""Taking back: parent and worker agree about each request, however closely they meet.

Each writes its word of the status page first and reads the other's second. The worker of the test
does nothing else, so that the two meet in any order within milliseconds.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from array import array
from collections.abc import Iterator

import pytest

from procorch.wire import fence
from procorch.wire.status import StatusPage

HANDSHAKES = 1000
AHEAD = 100

WORKER = """
import sys
from array import array
from procorch.wire import fence
from procorch.wire.status import StatusPage

page, begun, number = StatusPage(int(sys.argv[1])), array("q"), 0
if fence.register():
    page.promise_fences()
sys.stdout.buffer.write(b"go\\n")
sys.stdout.buffer.flush()
while not page.item:
    number += 1
    if page.claim(number):
        begun.append(number)
sys.stdout.buffer.write(begun.tobytes())
"""


@pytest.fixture
def page() -> Iterator[tuple[StatusPage, int]]:
    fd = StatusPage.create()
    page = StatusPage(fd)
    yield page, fd
    page.close()
    os.close(fd)


def test_a_claimed_request_is_not_taken_back_and_the_others_are(
    page: tuple[StatusPage, int],
) -> None:
    parent, fd = page
    worker = StatusPage(fd)
    assert worker.claim(1)
    assert worker.claim(2)
    assert parent.take_back(5) == 2
    assert not worker.claim(3)
    assert parent.take_back(5) == 3  # It answers that this one has not begun.
    assert not worker.claim(5)
    assert worker.claim(6)
    worker.close()


def test_without_fences_nothing_counts_as_taken_back(
    page: tuple[StatusPage, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, _ = page
    assert not parent.has_fences
    monkeypatch.setattr(fence, "_NUMBERS", {})
    assert not fence.register()
    assert parent.claim(1)
    assert parent.take_back(5) == 5


@pytest.mark.skipif(not fence.is_supported(), reason="the kernel has no membarrier")
def test_no_request_is_both_begun_and_taken_back(page: tuple[StatusPage, int]) -> None:
    parent, fd = page
    command = [sys.executable, "-c", WORKER, str(fd)]
    with subprocess.Popen(command, pass_fds=[fd], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"go\n"
        assert parent.has_fences
        taken: list[tuple[int, int]] = []
        asked, chance = 0, random.Random(1)
        for _ in range(HANDSHAKES):
            while (claimed := parent.take_back(asked)) <= asked:
                os.sched_yield()  # It has still to pass those that were taken back before.
            asked = claimed + chance.randrange(1, AHEAD)
            claimed = parent.take_back(asked)
            if claimed < asked:
                taken.append((claimed, asked))
        parent.item_cell[0] = 1
        begun = array("q", worker.stdout.read())
    numbers = set(begun)
    both = [n for low, high in taken for n in range(low + 1, high + 1) if n in numbers]
    assert not both
    assert taken
    assert begun
    assert len(numbers) == len(begun)
