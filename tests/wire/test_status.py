"""The status page: what one side writes the other one reads, also after a fork and a death."""

from __future__ import annotations

import errno
import faulthandler
import os
from collections.abc import Callable, Iterator

import pytest

from procorch.wire import status
from procorch.wire.status import FLAG, RAISE, StatusPage


@pytest.fixture
def memory() -> Iterator[int]:
    fd = StatusPage.create()
    yield fd
    os.close(fd)


@pytest.fixture
def page(memory: int) -> Iterator[Callable[[], StatusPage]]:
    """Maps the same memory once more, as the other process would."""
    made: list[StatusPage] = []

    def make() -> StatusPage:
        made.append(StatusPage(memory))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_the_parent_sees_what_the_worker_has_begun_and_done(
    page: Callable[[], StatusPage],
) -> None:
    worker, parent = page(), page()
    assert (parent.started, parent.done, parent.item) == (0, 0, 0)
    worker.start(7)
    worker.item_cell[0] = 3
    assert (parent.started, parent.done, parent.item) == (7, 0, 3)
    worker.finish(7)
    worker.start(8)
    assert (parent.started, parent.done, parent.item) == (8, 7, 0)


def test_each_step_of_the_worker_is_progress(page: Callable[[], StatusPage]) -> None:
    worker, parent = page(), page()
    seen = [parent.progress]
    for step in (lambda: worker.start(1), worker.touch, lambda: worker.finish(1)):
        step()
        seen.append(parent.progress)
    worker.item_cell[0] = 1
    seen.append(parent.progress)
    assert len(set(seen)) == len(seen)


def test_the_worker_sees_which_requests_are_to_end_and_how_hard(
    page: Callable[[], StatusPage],
) -> None:
    worker, parent = page(), page()
    assert worker.force(1) == 0
    parent.aim(1, FLAG)
    parent.aim(2, FLAG)
    parent.aim(1, RAISE)
    assert [worker.force(request) for request in (1, 2, 3)] == [RAISE, FLAG, 0]


def test_the_last_127_cancelled_requests_are_remembered(page: Callable[[], StatusPage]) -> None:
    worker, parent = page(), page()
    for request in range(1, 301):
        parent.aim(request, FLAG)
    assert all(worker.force(request) == FLAG for request in range(174, 301))
    assert worker.force(1) == 0


def test_the_stacks_that_a_fault_handler_writes_can_be_read_and_forgotten(
    memory: int, page: Callable[[], StatusPage]
) -> None:
    parent = page()
    assert parent.text() == b""
    faulthandler.dump_traceback(memory, all_threads=False)
    assert parent.has_text
    assert b"test_status.py" in parent.text()
    assert parent.erasures == 0
    parent.forget_text(memory)
    assert parent.text() == b""
    assert parent.erasures == 1
    os.write(memory, b"anew")
    assert parent.text() == b"anew"


def test_the_worker_erases_the_text_when_it_is_asked_and_not_while_it_is_read(
    memory: int, page: Callable[[], StatusPage]
) -> None:
    worker, parent = page(), page()
    assert not worker.may_erase
    os.write(memory, b"text")
    assert worker.may_erase
    parent.begin_reading()
    assert not worker.may_erase
    assert not worker.must_erase()
    parent.end_reading(erase=True)
    assert worker.may_erase
    assert worker.must_erase()
    assert not worker.must_erase()


def test_a_detached_page_is_seen_by_nobody(page: Callable[[], StatusPage]) -> None:
    fork, parent = page(), page()
    parent.start(5)
    fork.detach()
    assert fork.started == 0
    fork.start(6)
    assert parent.started == 5


def test_a_closed_page_stays_closed(page: Callable[[], StatusPage]) -> None:
    closed = page()
    closed.close()
    closed.close()
    closed.detach()
    with pytest.raises(ValueError, match="released"):
        closed.start(1)


def test_memory_that_cannot_be_mapped_is_an_error(
    page: Callable[[], StatusPage], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="the status page cannot be mapped") as caught:
        StatusPage(-1)
    assert caught.value.errno == errno.EBADF
    kept = page()
    monkeypatch.setattr(status, "_MAP_FIXED", 1 << 40)  # the kernel chooses another place
    with pytest.raises(OSError, match=r"\[Errno"):
        kept.detach()
