"""Tests of `vec_env/shared_memory.py`."""

import multiprocessing
import os

import numpy as np
import pytest

from sb3_ppo_scratch.vec_env.shared_memory import ALIGNMENT, Field, SharedMemory

FIELDS = [Field((3,), np.uint8), Field((2, 2), np.float64), Field((0,), np.int64), Field((5,), np.bool_)]


def test_arrays_do_not_overlap_and_begin_with_zeros() -> None:
    arrays = SharedMemory.create(FIELDS).arrays(FIELDS)
    assert [(array.shape, array.dtype) for array in arrays] == [(field.shape, field.dtype) for field in FIELDS]
    assert not any(array.any() for array in arrays)
    for number, array in enumerate(arrays, 1):
        array[...] = number
    for number, array in enumerate(arrays, 1):
        assert (array == (number if array.dtype != np.bool_ else True)).all()
    addresses = [array.__array_interface__["data"][0] for array in arrays]
    assert {address % ALIGNMENT for address in addresses} == {0}


def test_other_end_sees_the_same_memory_also_when_this_one_has_gone() -> None:
    here, there = multiprocessing.Pipe()
    memory = SharedMemory.create(FIELDS)
    memory.send(here, os.getpid())
    received = SharedMemory.receive(there)
    memory.arrays(FIELDS)[1][...] = [[1, 2], [3, 4]]
    del memory
    np.testing.assert_array_equal(received.arrays(FIELDS)[1], [[1, 2], [3, 4]])


@pytest.mark.parametrize("memfd", [True, False], ids=["memfd", "temporary_file"])
def test_no_folder_lists_the_file(memfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not memfd:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    memory = SharedMemory.create(FIELDS)
    assert memory.arrays(FIELDS)[1].shape == (2, 2)
    assert os.fstat(memory._descriptor or 0).st_nlink == 0


def test_array_outlives_the_memory_object() -> None:
    array = SharedMemory.create(FIELDS).arrays(FIELDS)[1]
    array += 1
    assert array.sum() == 4
