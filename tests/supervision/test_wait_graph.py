"""Agents that wait for agents: a circle is refused, whatever its length, and nothing else (N16)."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from procorch.supervision.wait_graph import WaitGraph


def waiting(*pairs: tuple[int, int]) -> WaitGraph:
    waits = WaitGraph()
    for asker, asked in pairs:
        waits.add(asker, asked)
    return waits


def test_an_agent_cannot_wait_for_itself() -> None:
    assert waiting().circle(1, 1) == [1]


def test_two_that_would_wait_for_each_other_are_a_circle() -> None:
    assert waiting((1, 2)).circle(2, 1) == [2, 1]


def test_a_circle_is_named_in_the_order_of_waiting_asker_first() -> None:
    waits = waiting((1, 2), (2, 3), (3, 4))
    assert waits.circle(4, 1) == [4, 1, 2, 3]


def test_a_chain_is_no_circle() -> None:
    waits = waiting((1, 2), (2, 3))
    assert waits.circle(3, 4) is None
    assert waits.circle(5, 1) is None
    assert waits.circle(1, 3) is None


def test_two_that_wait_for_the_same_one_are_no_circle() -> None:
    assert waiting((1, 3)).circle(2, 3) is None


def test_an_agent_may_wait_for_several_and_each_may_close_a_circle() -> None:
    waits = waiting((1, 2), (1, 3), (3, 4))
    assert waits.circle(2, 1) == [2, 1]
    assert waits.circle(4, 1) == [4, 1, 3]


def test_an_agent_that_has_a_free_instance_answers() -> None:
    waits = WaitGraph({10: [1, 2], 20: [3]}.__getitem__)
    waits.add(1, 20)
    assert waits.circle(3, 10) is None
    waits.add(3, 10)
    assert waits.circle(2, 20) == [2, 3], "then all of them would wait for each other"
    assert waits.circle(1, 10) is None, "the other one is free to answer"


def test_an_agent_all_of_whose_instances_wait_is_in_the_circle() -> None:
    waits = WaitGraph({10: [1, 2], 20: [3]}.__getitem__)
    waits.add(1, 20)
    waits.add(2, 20)
    assert waits.circle(3, 10) in ([3, 1], [3, 2])


def test_an_agent_answers_if_the_one_that_it_waits_for_can() -> None:
    waits = WaitGraph({10: [1, 2], 20: [3], 30: [4]}.__getitem__)
    waits.add(1, 20)
    waits.add(2, 30)
    assert waits.circle(3, 10) is None, "4 answers 2, and then 2 answers 3"


def test_an_agent_without_instances_is_in_no_circle() -> None:
    waits = WaitGraph({10: [1], 20: []}.__getitem__)
    assert waits.circle(1, 20) is None
    waits.add(1, 20)
    assert waits.circle(3, 10) is None


def test_an_answer_ends_one_wait_only() -> None:
    waits = waiting((1, 2), (1, 2), (1, 3))
    waits.remove(1, 2)
    assert waits.circle(2, 1) == [2, 1], "it has asked twice and waits for the second answer"
    waits.remove(1, 2)
    assert waits.circle(2, 1) is None
    assert waits.circle(3, 1) == [3, 1]


def test_who_has_its_answer_waits_for_nobody() -> None:
    waits = waiting((1, 2), (2, 3))
    waits.remove(2, 3)
    assert waits.circle(3, 1) is None
    assert waits.circle(2, 1) == [2, 1], "others still wait for it"


def test_removing_what_was_never_there_is_fine() -> None:
    waits = waiting()
    waits.remove(1, 2)
    assert waits.circle(1, 2) is None


def test_nothing_is_kept_of_those_who_wait_no_more() -> None:
    waits = waiting((1, 2), (2, 3))
    waits.remove(1, 2)
    waits.remove(2, 3)
    assert waits._waiting == {}


def test_a_chain_may_be_longer_than_the_stack_is_deep() -> None:
    waits = waiting(*((n, n + 1) for n in range(50_000)))
    assert waits.circle(50_000, 0) == [50_000, *range(50_000)]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=40))
def test_if_every_circle_is_refused_there_is_always_somebody_who_does_not_wait(pairs) -> None:
    waits, edges = WaitGraph(), set()
    for asker, asked in pairs:
        circle = waits.circle(asker, asked)
        if circle is None:
            waits.add(asker, asked)
            edges.add((asker, asked))
        else:
            assert circle[0] == asker
            steps = [*circle[1:], asker]
            assert (asker, steps[0]) == (asker, asked)
            assert set(pairwise(steps)) <= edges
    while edges:  # take away, one by one, those who wait for nobody
        free = {asked for _, asked in edges} - {asker for asker, _ in edges}
        assert free, "everybody waits for somebody"
        edges = {(asker, asked) for asker, asked in edges if asked not in free}
