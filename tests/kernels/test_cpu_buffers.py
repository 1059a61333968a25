"""Storage that is used again: no two arrays share any, and what one leaves serves others."""

import threading

import numpy as np
import pytest

from tests.compiled import needs_compiled_kernels
from xpcnn.kernels import workspace
from xpcnn.kernels.cpu import buffers

needs_compiled_kernels()

pytestmark = pytest.mark.skipif(not buffers._counts, reason="nothing is used again here")
BIG = 8 * buffers.CHUNK


def storage():
    return sum(chunk.size for chunk in buffers._chunks.values())


def address(array):
    return array.__array_interface__["data"][0]


@pytest.fixture(autouse=True)
def nothing_idle():
    buffers.clear()
    yield
    buffers.clear()


def churn(seed, rounds, failures):
    """Take, write, check and let go of arrays in an order of chance."""
    rng, held = np.random.default_rng(seed), []
    for number in range(rounds):
        array = buffers.empty(int(rng.integers(1100, 300_000)))
        assert address(array) % buffers.ALIGNMENT == 0
        array.fill(number)
        held.append((number, array[3:]))  # a view holds it as well
        while len(held) > 30 or (held and rng.random() < 0.45):
            expected, array = held.pop(int(rng.integers(len(held))))
            if not (array == expected).all():
                failures.append((expected, array))


def test_no_array_is_overwritten():
    failures = []
    threads = [threading.Thread(target=churn, args=(n, 600, failures)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_small_arrays_take_the_place_of_a_large_one_and_the_other_way_round():
    large = buffers.empty(BIG // 4)
    where, total = address(large), storage()
    del large
    small = [buffers.empty(BIG // 32) for _ in range(8)]
    assert storage() == total
    assert {where <= address(array) < where + BIG for array in small} == {True}
    del small
    large = buffers.empty(BIG // 4)
    assert address(large) == where
    assert storage() == total


def test_a_part_between_two_that_are_held_is_found_again():
    arrays = [buffers.empty(BIG // 16) for _ in range(4)]
    places = [address(array) for array in arrays]
    del arrays[1]
    again = buffers.empty(BIG // 16)
    assert address(again) == places[1]


def test_idle_storage_is_counted_and_given_up():
    before, array = buffers.idle(), buffers.empty(BIG // 4)
    assert buffers.idle() == before
    del array
    assert buffers.idle() == before + BIG
    buffers.clear()
    assert buffers.idle() == before


def test_what_was_not_wanted_for_long_is_given_up(monkeypatch):
    monkeypatch.setattr(buffers, "FORGET", 3)
    array = buffers.empty(BIG // 4)
    del array
    held = [buffers.empty(BIG // 4 + 2**20 * n) for n in range(1, 6)]
    assert buffers.idle() < BIG
    del held


def test_under_a_limit_no_chunk_is_cut():
    with workspace.limited(workspace.get_workspace_limit(), 0):
        large = buffers.empty(BIG // 4)
        del large
        before = storage()
        small = buffers.empty(BIG // 32)
        assert storage() < before  # the large chunk was given up first
        del small


def test_storage_that_a_thread_takes_is_noted():
    with buffers.Taken() as taken:
        first = buffers.empty(5000)
        second = buffers.empty(6000)
    third = buffers.empty(5000)
    assert taken.find(address(first) + 40) == (0, 40)
    assert taken.find(address(second)) == (1, 0)
    assert taken.find(address(third)) is None
    assert taken.size(1) >= second.nbytes
