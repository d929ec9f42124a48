"""The line of a hop as frames and back: labels of two parabolas give surfaces, barrier and verdict again."""

from dataclasses import replace

import numpy as np
import pytest

from leopold_model.barrier import BarrierError, linear_path, relax
from leopold_model.barrier_frames import line_frames, line_of_labels
from leopold_model.barrier_report import deviation, line
from leopold_model.standin.crystals import ideal_cell
from tests.model.test_barrier import SITES, Parabolas, reorganisation, shared

MGO = ideal_cell("mgo", (2, 2, 2))
TWO = Parabolas(MGO)
ENDS = tuple(relax(TWO, MGO, site, 1e-6, 100) for site in SITES)


def answered(surface, asked):
    """What a reference with this surface says of the frames, each under another id than it was asked."""
    labels = []
    for frame in asked:
        state = surface(frame.positions, frame.carrier_sites[0])
        found = (int(np.argmax(state.moments)),)
        labels.append(
            replace(frame, energy=state.energy - 7.0, forces=state.forces, moments=state.moments, carrier_sites=found,
                    label=frame.id)
        )  # fmt: skip
    return labels


def test_both_branches_are_asked_everywhere_and_give_the_surfaces_again():
    asked = line_frames(*ENDS, SITES, 5, "both", "hole", "a class")
    assert [(f.step, f.carrier_sites[0]) for f in asked] == [(k, site) for k in range(5) for site in SITES]
    assert len({f.id for f in asked}) == 10 and {f.pathway for f in asked} == {"a class"}
    found = line_of_labels(asked, answered(TWO, asked)[::-1], SITES)
    own = line(*linear_path(TWO, *ENDS, SITES, 5))
    assert found["s"] == own["s"] and found["on_j"][0] is False and found["on_j"][-1] is True
    for key in ("energy_i", "energy_j", "energy_lower", "moments"):
        np.testing.assert_allclose(found[key], own[key], atol=1e-9)
    assert found["barrier_linear_eV"] == pytest.approx(reorganisation(TWO) / 4, abs=1e-4)
    assert found["verdict"] == "diabatic" and found["crossing"]["s"] == 0.5
    assert deviation(own, found)["energy_meV"]["largest"] < 1e-5


def test_the_nearer_branch_costs_half_and_says_as_much_of_a_symmetric_hop():
    asked = line_frames(*ENDS, SITES, 5, "nearest", "hole")
    assert [f.carrier_sites[0] for f in asked] == [32, 32, 32, 33, 33, 33]
    found = line_of_labels(asked, answered(TWO, asked), SITES)
    assert [e is None for e in found["energy_j"]] == [True, True, False, False, False]
    assert found["moments"][0][1] is None and found["stays"][4][0] is None
    assert found["verdict"] == "diabatic"
    whole = line_frames(*ENDS, SITES, 5, "both", "hole")
    full = line_of_labels(whole, answered(TWO, whole), SITES)
    np.testing.assert_allclose(found["energy_lower"], full["energy_lower"], atol=1e-9)


def test_one_shared_state_is_adiabatic():
    surface = shared(TWO, coupling=0.05)
    asked = line_frames(*ENDS, SITES, 5, "both", "hole")
    found = line_of_labels(asked, answered(surface, asked), SITES)
    assert found["verdict"] == "adiabatic" and found["crossing"]["jump"] == pytest.approx(0.0)


def test_labels_that_failed_leave_gaps_and_no_verdict_is_guessed():
    asked = line_frames(*ENDS, SITES, 5, "both", "hole")
    labels = [f for f in answered(TWO, asked) if f.step != 1]
    found = line_of_labels(asked, labels, SITES)
    assert found["energy_lower"][1] is None and found["moments"][1] == [None, None] and len(found["s"]) == 5
    assert deviation(line(*linear_path(TWO, *ENDS, SITES, 5)), found)["n"] == 4
    one_sided = [f for f in answered(TWO, asked) if f.requested_sites[0] == (32 if f.step < 2 else 33)]
    found = line_of_labels(asked, one_sided, SITES)
    assert found["verdict"] is None and found["crossing"] is None and found["barrier_linear_eV"] > 0.0


def test_deviations_are_those_put_in():
    asked = line_frames(*ENDS, SITES, 5, "both", "hole")
    off = [replace(f, energy=f.energy + 0.02 * (f.step == 2), moments=1.1 * f.moments) for f in answered(TWO, asked)]
    found = deviation(line(*linear_path(TWO, *ENDS, SITES, 5)), line_of_labels(asked, off, SITES))
    assert found["energy_meV"]["largest"] == pytest.approx(20.0, abs=1e-4)
    assert found["energy_meV"]["rms"] == pytest.approx(20.0 / np.sqrt(5), abs=1e-4)
    assert found["moment_muB"]["largest"] == pytest.approx(0.08, abs=1e-6)


def test_an_end_that_is_missing_or_not_held_is_refused():
    asked = line_frames(*ENDS, SITES, 3, "nearest", "hole")
    labels = answered(TWO, asked)
    with pytest.raises(BarrierError, match="the start of the path has no label with the carrier on atom 32"):
        line_of_labels(asked, labels[1:], SITES)
    moved = [replace(labels[-1], moments=labels[0].moments), *labels[:-1]]
    with pytest.raises(BarrierError, match="at the end of the path the reference does not keep the carrier on 33"):
        line_of_labels(asked, moved, SITES)
