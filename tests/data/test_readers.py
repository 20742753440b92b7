"""What each reader drew, and what the others agree on."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ecc_jax.data.readers import MIN_READERS, readings_of

BITS = arrays.arrays(np.uint8, (3, 4), elements=st.integers(0, 255))


@given(BITS, st.integers(0, 2))
def test_others_are_half_of_those_who_could_have_drawn(bits, silent):
    drew = [r for r in range(8) if any(int(b) >> r & 1 for b in bits.flat)]
    num_readers = len(drew) + silent
    found = readings_of(bits, num_readers)
    assert [reading.reader for reading in found] == (drew if num_readers >= MIN_READERS else [])
    for reader, own, others in found:
        for place in np.ndindex(bits.shape):
            votes = [bool(int(bits[place]) >> r & 1) for r in drew if r != reader]
            assert own[place] == bool(int(bits[place]) >> reader & 1)
            assert others[place] == (sum(votes) >= (num_readers - 1) / 2)


def test_readers_who_agree_are_each_others_consensus():
    mask = np.arange(12).reshape(3, 4) % 3 == 0
    for reading in readings_of((mask * 0b1011).astype(np.uint8), 3):
        np.testing.assert_array_equal(reading.own, reading.others)


def test_a_nodule_that_one_of_four_drew_has_no_consensus():
    (reading,) = readings_of(np.array([[4, 0]], np.uint8), 4)
    assert reading.reader == 2 and not reading.others.any()


def test_two_readers_are_too_few():
    assert readings_of(np.array([[3, 1]], np.uint8), 2) == []
    assert readings_of(np.zeros((2, 2), np.uint8), 4) == []
