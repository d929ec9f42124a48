"""What may be trained on, how it is split, and what is measured of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from leopold_model.dataset import DataError, buckets, elements_of, scales, split_by_run, usable

from .conftest import teacher_frames


def nan_in(array):
    array = array.copy()
    array.flat[3] = np.nan
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: replace(f, energy=float("nan")), r"frame 1 \(a, step 1\): energy is nan"),
        (lambda f: replace(f, forces=nan_in(f.forces)), "forces hold NaN"),
        (lambda f: replace(f, forces=None), "forces missing"),
        (lambda f: replace(f, occupations=nan_in(f.occupations)), "occupations hold NaN"),
        (lambda f: replace(f, occupations=None), "no occupations"),
        (lambda f: replace(f, carrier_sites=()), "carrier_sites is empty"),
        (lambda f: replace(f, settings="other"), r"different settings \['other', 's'\]"),
        (lambda f: replace(f, carrier="electron"), r"different carrier \['electron', 'hole'\]"),
        (lambda f: replace(f, carrier_sites=(0, 1)), r"different number of carriers \['1', '2'\]"),
    ],
)
def test_bad_labels_are_refused(change, message):
    frames = teacher_frames(3)
    frames[1] = change(frames[1])
    with pytest.raises(DataError, match=message):
        usable(frames, "train.h5")


def test_unconverged_frames_are_dropped_and_counted():
    frames = teacher_frames(4)
    frames[2] = replace(frames[2], converged=False, energy=float("nan"))
    kept, counts = usable(frames, "train.h5")
    assert [f.step for f in kept] == [0, 1, 3]
    assert counts == {"frames": 4, "unconverged_dropped": 1, "unresolved_dropped": 0, "flag_not_on_largest_moment": 0}
    with pytest.raises(DataError, match=r"no usable frame \(1 given, 1 unconverged, 0 with carriers merged or lost\)"):
        usable(frames[2:3], "train.h5")
    with pytest.raises(DataError, match=r"no usable frame \(0 given"):
        usable([], "train.h5")


def test_frames_of_merged_or_lost_carriers_are_dropped_and_counted():
    """Two carriers, each on a site of its own, but once both on one, and once one of them nowhere."""

    def with_moments(frame, *largest):
        moments = np.full(len(frame), 0.02)
        moments[: len(largest)] = largest
        occupations = np.stack([0.5 + moments / 2, 0.5 - moments / 2], axis=1)
        return replace(frame, occupations=occupations, carrier_sites=(0, 1))

    shared = (0.9, 0.4, 0.35)  # between two sites the carrier is still there
    cases = [(0.9, 0.8), shared, (1.7, 0.1), (0.9, 0.1)]
    frames = [with_moments(f, *m) for f, m in zip(teacher_frames(4), cases, strict=True)]
    kept, counts = usable(frames, "train.h5")
    assert [f.step for f in kept] == [0, 1] and counts["unresolved_dropped"] == 2
    with pytest.raises(DataError, match="0 unconverged, 2 with carriers merged or lost"):
        usable(frames[2:], "train.h5")


def test_a_flag_that_ignores_the_moments_is_refused():
    frames = [replace(f, carrier_sites=(0,)) for f in teacher_frames(4)]
    with pytest.raises(DataError, match="differs from the most magnetised atoms in 4 of 4 frames"):
        usable(frames, "train.h5")


def test_split_holds_out_the_end_of_every_run():
    frames = teacher_frames(20, run="a") + teacher_frames(10, run="b")[::-1] + teacher_frames(1, run="label")
    train, validation = split_by_run(frames, 0.2)
    assert [(f.run, f.step) for f in validation] == [("a", k) for k in range(16, 20)] + [("b", 8), ("b", 9)]
    assert len(train) == 25 and ("label", 0) in [(f.run, f.step) for f in train]
    with pytest.raises(DataError, match="no run is long enough"):
        split_by_run(frames[:2], 0.2)


def test_scales():
    frames = teacher_frames(30)
    measured = scales(frames, (8, 12), 4.0)
    assert measured.references.sum() * 4 == pytest.approx(np.mean([f.energy for f in frames]))
    assert measured.force_rms == pytest.approx(np.sqrt(np.mean([f.forces**2 for f in frames])))
    moments = measured.occupation_shift[:, 0] - measured.occupation_shift[:, 1]
    assert moments[0] == pytest.approx(np.mean([f.spin_moments.sum() for f in frames]) / 4) and abs(moments[1]) < 1e-12
    # the shortest distances by brute force over images
    shifts = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T @ frames[0].cell
    shortest = np.inf
    for f in frames:
        o, mg = f.positions[f.numbers == 8], f.positions[f.numbers == 12]
        shortest = min(shortest, np.linalg.norm(o[:, None, None] - mg[None, :, None] + shifts, axis=-1).min())
    assert measured.repulsion_onset[0, 1] == measured.repulsion_onset[1, 0] == pytest.approx(shortest)


def test_references_tell_species_apart_where_compositions_differ():
    a, b = teacher_frames(1)[0], teacher_frames(1)[0]
    keep = np.arange(len(b)) != np.flatnonzero(b.numbers == 12)[0]
    site = int(np.cumsum(keep)[b.carrier_sites[0]] - 1)
    b = replace(
        b, numbers=b.numbers[keep], positions=b.positions[keep], forces=b.forces[keep],
        occupations=b.occupations[keep], carrier_sites=(site,), energy=a.energy + 7.0,
    )  # fmt: skip
    references = scales([a, b], (8, 12), 4.0).references
    assert references[1] == pytest.approx(-7.0) and 4 * references.sum() == pytest.approx(a.energy)


def test_buckets_group_sizes_and_keep_frames():
    frames = [*teacher_frames(2), *teacher_frames(3, repeat=(1, 1, 3))]
    species = [np.searchsorted(elements_of(frames), f.numbers) for f in frames]
    groups = buckets(frames, species, np.array([-6.0, -4.0]), 4.0, "float32")
    assert [list(members) for _, members in groups] == [[0, 1], [2, 3, 4]]
    for data, members in groups:
        for row, k in enumerate(members):
            n = len(frames[k])
            assert data.atom_mask[row].sum() == n == data.n_atoms[row]
            np.testing.assert_allclose(data.forces[row, :n], frames[k].forces, rtol=1e-6)
            assert data.energy[row] == pytest.approx(frames[k].energy + 5.0 * n, abs=1e-4)
            assert np.flatnonzero(data.charge[row]).tolist() == list(frames[k].carrier_sites)


def test_overlapping_atoms_are_refused():
    frame = teacher_frames(1)[0]
    positions = frame.positions.copy()
    positions[1] = positions[0] + [0, 0, 0.2]
    frame = replace(frame, positions=positions)
    with pytest.raises(DataError, match=r"two atoms are 0\.20 Angstrom apart"):
        buckets([frame], [np.zeros(8, int)], np.zeros(1), 4.0, "float32")
