"""Arrays that share a piece of memory, as far as they are not needed together."""

import numpy as np
import pytest

from xpcnn.kernels.cpu.arena import ALIGNMENT, Need, place


def overlap(a, b):
    """Whether two stretches, both ends included, have something in common."""
    return a[0] <= b[1] and b[0] <= a[1]


def most_at_once(needs):
    """The most bytes that are needed at one moment."""
    moments = range(max(need.last for need in needs) + 1)
    return max(sum(n.size for n in needs if n.first <= moment <= n.last) for moment in moments)


@pytest.mark.parametrize("seed", range(30))
def test_what_is_needed_together_lies_apart(seed):
    rng = np.random.default_rng(seed)
    firsts = rng.integers(0, 20, 40)
    needs = [
        Need(int(size), int(first), int(first + length))
        for size, first, length in zip(
            rng.integers(1, 5000, 40), firsts, rng.integers(0, 8, 40), strict=True
        )
    ]
    offsets, total = place(needs)
    bytes_of = [(o, o + n.size - 1) for o, n in zip(offsets, needs, strict=True)]
    assert all(offset % ALIGNMENT == 0 for offset in offsets)
    assert total >= max(end for _, end in bytes_of) + 1
    assert most_at_once(needs) <= total <= 1.6 * most_at_once(needs)
    for i, one in enumerate(needs):
        for j, other in enumerate(needs[:i]):
            if overlap(one[1:], other[1:]):
                assert not overlap(bytes_of[i], bytes_of[j])


def test_a_chain_takes_the_room_of_two():
    offsets, total = place([Need(1024, k, k + 1) for k in range(10)])
    assert total == 2048
    assert set(offsets) == {0, 1024}


def test_nothing_takes_no_room():
    assert place([]) == ([], 0)
