"""What an agent learns of its worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from procorch.agents.context import Context
from procorch.agents.current import current, install, installed, uninstall


@pytest.fixture(autouse=True)
def outside_a_worker() -> Iterator[None]:
    uninstall()
    yield
    uninstall()


def test_outside_a_worker_there_is_no_context_and_the_error_says_so() -> None:
    with pytest.raises(RuntimeError, match="outside a worker"):
        current()
    assert installed() is None


def test_inside_a_worker_current_is_what_the_worker_installed() -> None:
    mine = Context("x", 3, restored={"step": 4})
    install(mine)
    assert current() is installed() is mine
    assert (mine.agent, mine.generation, mine.restored) == ("x", 3, {"step": 4})
    assert (mine.request, mine.deadline, mine.remaining(), mine.cancelled) == (
        None, None, None, False,
    )  # fmt: skip
    uninstall()
    assert installed() is None


def test_the_time_that_remains_runs_out_and_stays_at_nothing() -> None:
    now = [100.0]
    mine = Context("x", clock=lambda: now[0])
    mine.begin(7, deadline=102.5)
    assert (mine.request, mine.deadline, mine.remaining()) == (7, 102.5, 2.5)
    now[0] = 103.0
    assert mine.remaining() == 0.0
    mine.end()
    assert (mine.request, mine.deadline, mine.remaining()) == (None, None, None)


def test_a_cancel_hits_the_request_it_is_aimed_at_and_no_other() -> None:
    mine = Context("x")
    mine.begin(7)
    mine.cancel(6)
    assert not mine.cancelled
    mine.cancel(7)
    assert mine.cancelled
    mine.end()
    assert not mine.cancelled
    mine.begin(8)
    assert not mine.cancelled


def test_a_cancel_that_comes_before_its_request_is_not_lost() -> None:
    mine = Context("x")
    mine.cancel(8)
    assert not mine.cancelled
    mine.begin(8)
    assert mine.cancelled


def test_progress_tells_the_watchdog() -> None:
    told: list[str] = []
    Context("x", on_progress=lambda: told.append("on")).progress()
    Context("x").progress()
    assert told == ["on"]


def test_a_context_says_whose_it_is() -> None:
    mine = Context("x", 2, request=7)
    assert repr(mine) == "<Context of agent 'x', generation 2, request 7>"
