"""How many items go together, by what they took."""

from __future__ import annotations

from procorch.pool.sizes import MOST, TARGET, Fixed, Measured, Pace


def test_a_fixed_size_stays() -> None:
    sizes = Fixed(7)
    sizes.saw(7, 100.0)
    sizes.failed(1)
    assert (sizes.next(), sizes.again()) == (7, 7)


def test_fast_items_go_together_and_slow_ones_alone() -> None:
    sizes = Measured(None, 4, Pace())
    assert sizes.next() == 1
    sizes.saw(1, 1e-6)
    assert sizes.next() == 64
    sizes.saw(64, 64e-6)
    assert sizes.next() == 4096
    sizes.saw(4096, 4096e-6)
    assert sizes.next() == int(TARGET / 1e-6)
    sizes.saw(20_000, 20_000 * 1e-8)
    assert sizes.next() == MOST
    sizes.saw(2, 10.0)
    assert sizes.next() == 1


def test_a_short_chunk_does_not_make_the_next_ones_short() -> None:
    sizes = Measured(None, 4, Pace(10_000))
    sizes.saw(1, 30e-6)
    assert sizes.next() == 10_000


def test_the_pace_is_remembered() -> None:
    pace = Pace()
    Measured(None, 4, pace).saw(1, 1e-6)
    assert Measured(None, 4, pace).next() == 64


def test_the_last_chunks_are_shorter_and_cover_everything() -> None:
    sizes = Measured(100_000, 4, Pace(30_000))
    taken = []
    while sum(taken) < 100_000:
        taken.append(min(sizes.next(), 100_000 - sum(taken)))
    assert taken[0] == 25_000
    assert taken == sorted(taken, reverse=True)
    assert len(taken) < 25


def test_after_a_failure_chunks_are_as_long_as_the_way_to_it() -> None:
    sizes = Measured(None, 4, Pace(1000))
    sizes.failed(10)
    assert sizes.next() == 10
    sizes.failed(0)
    assert sizes.next() == 1
