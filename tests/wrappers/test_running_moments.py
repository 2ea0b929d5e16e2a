"""`RunningMoments`, against the moments of the full data in NumPy and in exact fractions."""

import copy
import io
import multiprocessing
import os
import pickle
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sb3_ppo_scratch.wrappers import RunningMoments

FEW = settings(max_examples=40, deadline=None)
DATA = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=5).map(lambda shape: (shape[0] + 1, *shape[1:])),
    elements=st.floats(-1e6, 1e6),
)


def moments_of(data: np.ndarray) -> RunningMoments:
    moments = RunningMoments(data.shape[1:])
    moments.update(data)
    return moments


def assert_moments_of(moments: RunningMoments, data: np.ndarray) -> None:
    scale = 1.0 + np.abs(data).max()
    assert moments.count == len(data)
    np.testing.assert_allclose(moments.mean, data.mean(axis=0), rtol=1e-12, atol=1e-12 * scale)
    np.testing.assert_allclose(moments.var, data.var(axis=0), rtol=1e-10, atol=1e-12 * scale**2)


def test_before_the_first_update_mean_is_zero_and_variance_one():
    moments = RunningMoments((2, 3))
    assert moments.count == 0
    assert (moments.mean == np.zeros((2, 3))).all()
    assert (moments.var == np.ones((2, 3))).all()


@FEW
@given(data=DATA, cuts=st.lists(st.integers(0, 6), max_size=3))
def test_batches_of_any_size_give_the_moments_of_the_full_data(data, cuts):
    moments = RunningMoments(data.shape[1:])
    for part in np.split(data, sorted(min(cut, len(data)) for cut in cuts)):
        moments.update(part)
    assert_moments_of(moments, data)


@FEW
@given(data=DATA, cut=st.integers(0, 6))
def test_merging_two_parts_gives_the_moments_of_the_whole_in_either_order(data, cut):
    parts = [moments_of(part) for part in np.split(data, [min(cut, len(data))])]
    assert_moments_of(RunningMoments.merged(parts), data)
    assert_moments_of(RunningMoments.merged(parts[::-1]), data)


def test_large_offset_keeps_the_variance_that_the_sum_of_squares_would_lose():
    values = [1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16]
    exact_mean = sum(map(Fraction, values)) / 4
    exact_var = sum((Fraction(value) - exact_mean) ** 2 for value in values) / 4
    moments = RunningMoments()
    for value in values:
        moments.update([value])
    assert float(exact_var) == 22.5
    assert moments.mean == float(exact_mean)
    assert moments.var == pytest.approx(22.5, rel=1e-9)


def test_hundred_thousand_single_updates_stay_exact_to_ten_digits():
    data = np.random.default_rng(0).normal(5.0, 2.0, 100_000)
    moments = RunningMoments()
    for value in data:
        moments.update([value])
    assert moments.mean == pytest.approx(data.mean(), rel=1e-11)
    assert moments.var == pytest.approx(data.var(), rel=1e-10)


def test_float32_and_integer_batches_are_accumulated_in_float64():
    in_float32 = np.array([16777216, 16777218, 16777218, 16777218], dtype=np.float32)
    assert in_float32.mean() != 16777217.5
    moments = moments_of(in_float32)
    assert moments.mean.dtype == moments.var.dtype == np.float64
    assert (moments.mean, moments.var) == (16777217.5, 0.75)
    moments.update(np.array([16777217, 16777218], dtype=np.int32))
    assert moments.mean == pytest.approx(16777217.5, rel=1e-15)


def test_constant_data_has_exactly_zero_variance_one_by_one_and_next_to_none_in_batches():
    moments = RunningMoments()
    for _ in range(7):
        moments.update([0.1])
    assert (moments.mean, moments.var) == (0.1, 0.0)
    assert moments_of(np.full(7, 0.1)).var < 1e-30


def test_empty_batch_changes_nothing():
    moments = moments_of(np.array([[1.0], [2.0]]))
    moments.update(np.empty((0, 1)))
    assert (moments.count, moments.mean.tolist(), moments.var.tolist()) == (2, [1.5], [0.25])


def test_merging_with_itself_doubles_the_count_only():
    moments = moments_of(np.array([[1.0], [3.0]]))
    moments.merge(moments)
    assert (moments.count, moments.mean.tolist(), moments.var.tolist()) == (4, [2.0], [1.0])


def test_merged_leaves_its_parts_alone_and_accepts_frozen_ones():
    parts = [moments_of(np.array([[1.0]])), moments_of(np.array([[3.0]]))]
    parts[0].freeze()
    total = RunningMoments.merged(parts)
    assert [part.count for part in parts] == [1, 1]
    assert (total.count, total.mean.tolist(), total.var.tolist(), total.frozen) == (2, [2.0], [1.0], False)


def test_returned_arrays_are_copies():
    moments = RunningMoments(2)
    moments.mean[:] = 5.0
    moments.var[:] = 5.0
    assert moments.mean.tolist() == [0.0, 0.0]
    assert moments.var.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_nonfinite_update_raises_and_leaves_the_statistics_usable(poison):
    moments = moments_of(np.array([[1.0, 2.0], [3.0, 4.0]]))
    with pytest.raises(ValueError, match=r"batch\[0, 1\]=-?(nan|inf) must be finite"):
        moments.update([[1.0, poison]])
    assert (moments.count, moments.mean.tolist(), moments.var.tolist()) == (2, [2.0, 3.0], [1.0, 1.0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("batch", [[[1e200], [-1e200]], [[1e308]]])
def test_update_whose_variance_overflows_raises_and_changes_nothing(batch):
    moments = moments_of(np.array([[-1e308]]))
    with pytest.raises(ValueError, match="variance overflows"):
        moments.update(batch)
    assert moments.count == 1


@pytest.mark.filterwarnings("error")
def test_batch_whose_sum_overflows_both_ways_raises_without_a_warning():
    # NumPy adds every eighth number first: that makes infinity and minus infinity, and then NaN.
    with pytest.raises(ValueError, match="variance overflows"):
        RunningMoments().update([1.7e308, -1.7e308, 0, 0, 0, 0, 0, 0] * 2)


@pytest.mark.filterwarnings("error")
def test_merging_whose_variance_overflows_raises_without_a_warning_and_changes_nothing():
    moments = RunningMoments.from_values(2, 1e200, 0.0)
    with pytest.raises(ValueError, match="variance overflows"):
        moments.merge(RunningMoments.from_values(2, -1e200, 0.0))
    assert (moments.count, moments.mean, moments.var) == (2, 1e200, 0.0)


def test_text_of_statistics_holds_their_values():
    assert repr(moments_of(np.array([[1.0], [3.0]]))) == "RunningMoments(count=2, mean=[2.0], var=[1.0])"


@pytest.mark.parametrize(
    ("shape", "batch", "message"),
    [
        ((2,), [1.0, 2.0], r"batch has shape \(2,\), expected \(n, 2\)"),
        ((2,), [[1.0]], r"batch has shape \(1, 1\), expected \(n, 2\)"),
        ((1,), [1.0, 2.0], r"batch has shape \(2,\), expected \(n, 1\)"),
        ((), 1.0, r"batch has shape \(\), expected \(n\)"),
        ((2, 3), np.ones((4, 3, 2)), r"batch has shape \(4, 3, 2\), expected \(n, 2, 3\)"),
    ],
)
def test_batch_of_wrong_shape_raises_instead_of_broadcasting(shape, batch, message):
    with pytest.raises(ValueError, match=message):
        RunningMoments(shape).update(batch)


def test_batch_of_text_raises():
    with pytest.raises(TypeError, match=r"must hold numbers, not dtype <U1"):
        RunningMoments().update(["a"])


def test_merging_another_shape_raises_instead_of_broadcasting():
    with pytest.raises(ValueError, match=r"other has shape \(1,\), but these statistics have shape \(2,\)"):
        RunningMoments(2).merge(RunningMoments(1))


def test_merging_something_else_raises():
    with pytest.raises(TypeError, match="other=3 must be a RunningMoments"):
        RunningMoments(2).merge(3)
    with pytest.raises(TypeError, match=r"parts\[0\]='x' must be a RunningMoments"):
        RunningMoments.merged("x")


def test_merging_nothing_raises():
    with pytest.raises(ValueError, match=r"parts=\[\] holds no statistics"):
        RunningMoments.merged(iter(()))


def test_frozen_statistics_refuse_update_and_merge():
    moments = moments_of(np.array([[1.0], [3.0]]))
    moments.freeze()
    with pytest.raises(ValueError, match="frozen"):
        moments.update([[1.0]])
    with pytest.raises(ValueError, match="frozen"):
        moments.merge(moments)
    assert moments.frozen
    assert moments.count == 2


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (-1, ValueError, "shape=-1 must not hold negative"),
        ((2, -3), ValueError, r"shape=\(2, -3\) must not hold negative"),
        (2.0, TypeError, "shape=2.0 must be an integer, not of type float: give an int or a tuple of ints$"),
        ((True,), TypeError, "shape=True must be an integer"),
    ],
)
def test_impossible_shape_raises(shape, error, message):
    with pytest.raises(error, match=message):
        RunningMoments(shape)


def test_observations_without_elements_are_counted():
    moments = RunningMoments((0, 2))
    moments.update(np.empty((3, 0, 2)))
    assert (moments.count, moments.mean.shape) == (3, (0, 2))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float16])
def test_values_of_any_number_type_become_float64(dtype):
    moments = RunningMoments.from_values(2, np.array([3, 4], dtype), np.array([1, 2], dtype))
    assert moments.mean.dtype == moments.var.dtype == np.float64
    assert (moments.mean.tolist(), moments.var.tolist()) == ([3.0, 4.0], [1.0, 2.0])


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16])
def test_batches_of_any_number_type_are_taken_in(dtype):
    moments = moments_of(np.array([[0], [1]], dtype))
    assert (moments.mean.tolist(), moments.var.tolist()) == ([0.5], [0.25])


@FEW
@given(data=DATA)
def test_from_values_goes_on_where_the_values_were_read(data):
    first = moments_of(data)
    second = RunningMoments.from_values(first.count, first.mean, first.var)
    first.update(data)
    second.update(data)
    assert second.count == first.count
    assert (second.mean == first.mean).all()
    assert (second.var == first.var).all()


def test_from_values_of_no_observation_is_the_start():
    moments = RunningMoments.from_values(0, [0.0, 0.0], [1.0, 1.0])
    moments.update([[4.0, 6.0]])
    assert (moments.mean.tolist(), moments.var.tolist()) == ([4.0, 6.0], [0.0, 0.0])


@pytest.mark.parametrize(
    ("count", "mean", "var", "error", "message"),
    [
        (-1, 0.0, 1.0, ValueError, "count=-1 must not be negative"),
        (
            1.0,
            0.0,
            1.0,
            TypeError,
            "count=1.0 must be an integer, not of type float: give the number of observations$",
        ),
        (True, 0.0, 1.0, TypeError, "count=True must be an integer"),
        (2, [0.0], [-1.0], ValueError, r"var=\[-1.0\] must not be negative"),
        (2, [0.0], [0.0, 1.0], ValueError, r"mean has shape \(1,\), but var has shape \(2,\)"),
        (2, [np.nan], [1.0], ValueError, r"mean.*nan.* must be finite"),
        (2, np.array([0.0]), np.array([np.inf]), ValueError, r"var=\[inf\] must be finite"),
        (0, [3.0], [1.0], ValueError, "count=0 goes with mean 0 and var 1"),
        (0, [0.0], [2.0], ValueError, "count=0 goes with mean 0 and var 1"),
        (2, ["a"], [1.0], TypeError, "mean='a' must be a number"),
    ],
)
def test_from_impossible_values_raises(count, mean, var, error, message):
    with pytest.raises(error, match=message):
        RunningMoments.from_values(count, mean, var)


@FEW
@given(data=DATA)
def test_saved_statistics_are_loaded_exactly(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("moments") / "stats.npz"
    moments = moments_of(data)
    moments.freeze()
    moments.save(path)
    loaded = RunningMoments.load(path)
    assert (loaded.count, loaded.shape, loaded.frozen) == (moments.count, moments.shape, False)
    assert (loaded.mean == moments.mean).all()
    assert (loaded.var == moments.var).all()


def test_file_holds_plain_arrays_under_the_exact_name_given(tmp_path):
    path = tmp_path / "stats.of.run"
    moments_of(np.array([[1.0], [3.0]])).save(str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["stats.of.run"]
    with np.load(path, allow_pickle=False) as archive:
        assert {name: archive[name].tolist() for name in archive.files} == {"count": 2, "mean": [2.0], "var": [1.0]}


def test_interrupted_save_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "stats.npz"
    moments_of(np.array([[1.0]])).save(path)

    def break_off(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", break_off)
    with pytest.raises(OSError, match="disk full"):
        moments_of(np.array([[2.0]])).save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["stats.npz"]
    assert RunningMoments.load(path).mean.tolist() == [1.0]


def test_save_puts_a_new_file_in_place_of_the_old_one_instead_of_writing_into_it(tmp_path):
    moments_of(np.array([[1.0]])).save(tmp_path / "stats.npz")
    (tmp_path / "reader").hardlink_to(tmp_path / "stats.npz")
    moments_of(np.array([[2.0]])).save(tmp_path / "stats.npz")
    assert RunningMoments.load(tmp_path / "reader").mean.tolist() == [1.0]
    assert RunningMoments.load(tmp_path / "stats.npz").mean.tolist() == [2.0]


def test_missing_file_raises_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        RunningMoments.load(tmp_path / "absent.npz")


def test_file_that_is_something_else_raises_and_names_the_path(tmp_path):
    path = tmp_path / "stats.npz"
    path.write_text("count: 3")
    with pytest.raises(ValueError, match=r"stats\.npz.* is damaged or not an \.npz file"):
        RunningMoments.load(path)


def test_file_with_a_single_array_raises(tmp_path):
    np.save(tmp_path / "stats.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"stats\.npy.*holds a single array"):
        RunningMoments.load(tmp_path / "stats.npy")


def test_pickle_in_the_file_is_not_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    bomb = np.array([Bomb()], dtype=object)
    np.savez(tmp_path / "stats.npz", count=1, mean=bomb, var=bomb)
    with pytest.raises(ValueError, match=r"stats\.npz.*Object arrays cannot be loaded"):
        RunningMoments.load(tmp_path / "stats.npz")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mean": [0.0], "var": [1.0]}, r"holds \['mean', 'var'\], expected"),
        ({"count": 1, "mean": [0.0], "var": [1.0], "ret": 0}, r"holds \['count', 'mean', 'ret', 'var'\]"),
        ({"count": -1, "mean": [0.0], "var": [1.0]}, "count=-1 must not be negative"),
        ({"count": 1.5, "mean": [0.0], "var": [1.0]}, "count=1.5 must be an integer"),
        ({"count": [1, 2], "mean": [0.0], "var": [1.0]}, r"count=\[1, 2\] must be an integer"),
        ({"count": 2, "mean": [0.0], "var": [-1.0]}, "must not be negative"),
        ({"count": 2, "mean": [np.nan], "var": [1.0]}, "must be finite"),
        ({"count": 2, "mean": [0.0], "var": [1.0, 2.0]}, "but var has shape"),
        ({"count": 2, "mean": ["a"], "var": ["b"]}, "must hold numbers"),
    ],
)
def test_file_with_impossible_values_raises_and_names_the_path(tmp_path, arrays, message):
    np.savez(tmp_path / "stats.npz", **arrays)
    with pytest.raises(ValueError, match=r"stats\.npz.*" + message):
        RunningMoments.load(tmp_path / "stats.npz")


def test_array_that_claims_one_number_more_than_there_is_raises(tmp_path):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (3,)})
    content.write(np.zeros(2).tobytes())
    with zipfile.ZipFile(tmp_path / "stats.npz", "w") as archive:
        for name in ("count", "mean", "var"):
            archive.writestr(f"{name}.npy", content.getvalue())
    with pytest.raises(ValueError, match=r"claims the shape \(3,\), which is not there"):
        RunningMoments.load(tmp_path / "stats.npz")


def load_or_explain(path: Path) -> object:
    try:
        moments = RunningMoments.load(path)
    except ValueError as error:
        return str(error)
    return moments.count, moments.mean.tolist(), moments.var.tolist()


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_file_with_one_damaged_byte_raises_or_still_holds_the_same(position, flip, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "stats.npz"
    moments_of(np.array([[1.0, 5.0], [2.0, 7.0]])).save(path)
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= flip
    path.write_bytes(data)
    outcome = load_or_explain(path)
    assert outcome == (2, [1.5, 6.0], [0.25, 1.0]) or "stats.npz" in outcome


@pytest.mark.parametrize("keep", [0, 1, 100, -30])
def test_truncated_file_raises(tmp_path, keep):
    path = tmp_path / "stats.npz"
    moments_of(np.array([[1.0], [2.0]])).save(path)
    assert zipfile.is_zipfile(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="is damaged"):
        RunningMoments.load(path)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda moments: pickle.loads(pickle.dumps(moments))])
def test_copy_goes_on_by_itself(duplicate):
    original = moments_of(np.array([[1.0], [3.0]]))
    twin = duplicate(original)
    twin.update([[8.0]])
    assert (original.count, original.mean.tolist()) == (2, [2.0])
    assert (twin.count, twin.mean.tolist()) == (3, [4.0])


def collect(seed: int) -> RunningMoments:
    return moments_of(np.random.default_rng(seed).normal(size=(50, 2)))


def test_statistics_from_worker_processes_are_merged_into_those_of_all_data():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        parts = pool.map(collect, [1, 2])
    total = RunningMoments.merged(parts)
    assert_moments_of(total, np.concatenate([np.random.default_rng(seed).normal(size=(50, 2)) for seed in (1, 2)]))
    assert all(part.process_id != os.getpid() for part in parts)
    assert total.process_id == os.getpid()
