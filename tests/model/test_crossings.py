"""Which frames are learned with a second charge state."""

import numpy as np

from leopold_model.crossings import other_charge_states
from leopold_model.frames import Frame


def frame(step, site, moments, run="a"):
    n = len(moments)
    occupations = np.stack([1 + np.array(moments) / 2, 1 - np.array(moments) / 2], axis=1)
    return Frame(
        numbers=[8] * n, positions=np.arange(3 * n).reshape(n, 3) + step, cell=np.eye(3) * 9, energy=0.0,
        forces=np.zeros((n, 3)), occupations=occupations, carrier_sites=(site,) if isinstance(site, int) else site,
        run=run, step=step,
    )  # fmt: skip


def added(frames, lag=3, sharing=0.5):
    return [(f.run, f.step, f.carrier_sites) for f in other_charge_states(frames, lag, sharing)]


def test_steps_after_a_move_are_told_the_old_site():
    frames = [frame(k, 0 if k < 5 else 1, [0.9, 0.1] if k < 5 else [0.1, 0.9]) for k in range(10)]
    assert added(frames) == [("a", 5, (0,)), ("a", 6, (0,)), ("a", 7, (0,))]
    assert added(frames, lag=1) == [("a", 5, (0,))]
    assert added(frames, lag=0) == []


def test_frames_of_other_runs_or_far_apart_say_nothing_of_single_steps():
    assert added([frame(0, 0, [0.9, 0.1]), frame(1, 1, [0.1, 0.9], run="b")]) == []
    assert added([frame(0, 0, [0.9, 0.1]), frame(10, 1, [0.1, 0.9])]) == []


def test_order_of_the_list_does_not_matter():
    frames = [frame(k, 0 if k < 3 else 1, [0.9, 0.1] if k < 3 else [0.1, 0.9]) for k in range(6)]
    assert sorted(added(frames)) == sorted(added(frames[::-1]))


def test_a_shared_state_is_told_both_sites():
    assert added([frame(0, 0, [0.5, 0.4, 0.0])]) == [("a", 0, (1,))]
    assert added([frame(0, 0, [0.5, 0.2, 0.0])]) == []


def test_with_two_carriers_only_the_weaker_is_exchanged():
    assert added([frame(0, (0, 2), [0.9, 0.4, 0.5])]) == [("a", 0, (0, 1))]


def test_labels_are_those_of_the_frame():
    original = frame(0, 0, [0.5, 0.4])
    copy = other_charge_states([original], 3, 0.5)[0]
    np.testing.assert_array_equal(copy.occupations, original.occupations)
    np.testing.assert_array_equal(copy.positions, original.positions)
