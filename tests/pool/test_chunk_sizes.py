"""How many items go together, by what they took."""

from __future__ import annotations

from procorch.pool.chunk_sizes import LARGEST, TARGET, AdaptiveSize, FixedSize, LastSize


def test_a_fixed_size_stays() -> None:
    sizes = FixedSize(7)
    sizes.took(7, 100.0)
    sizes.failed(1)
    assert (sizes.next(), sizes.again()) == (7, 7)


def test_fast_items_go_together_and_slow_ones_alone() -> None:
    sizes = AdaptiveSize(None, 4, LastSize())
    assert sizes.next() == 1
    sizes.took(1, 1e-6)
    assert sizes.next() == 64
    sizes.took(64, 64e-6)
    assert sizes.next() == 4096
    sizes.took(4096, 4096e-6)
    assert sizes.next() == int(TARGET / 1e-6)
    sizes.took(20_000, 20_000 * 1e-8)
    assert sizes.next() == LARGEST
    sizes.took(2, 10.0)
    assert sizes.next() == 1


def test_a_short_chunk_does_not_make_the_next_ones_short() -> None:
    sizes = AdaptiveSize(None, 4, LastSize(10_000))
    sizes.took(1, 30e-6)
    assert sizes.next() == 10_000


def test_the_last_size_is_remembered() -> None:
    last = LastSize()
    AdaptiveSize(None, 4, last).took(1, 1e-6)
    assert AdaptiveSize(None, 4, last).next() == 64


def test_the_last_chunks_are_shorter_and_cover_everything() -> None:
    sizes = AdaptiveSize(100_000, 4, LastSize(30_000))
    taken = []
    while sum(taken) < 100_000:
        taken.append(min(sizes.next(), 100_000 - sum(taken)))
    assert taken[0] == 25_000
    assert taken == sorted(taken, reverse=True)
    assert len(taken) < 25


def test_after_a_failure_chunks_are_as_long_as_the_way_to_it() -> None:
    sizes = AdaptiveSize(None, 4, LastSize(1000))
    sizes.failed(10)
    assert sizes.next() == 10
    sizes.failed(0)
    assert sizes.next() == 1
