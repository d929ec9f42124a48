"""Tracks of first-principles frames: the same hops as in the track they were made from, or why there are none."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from leopold_model.cli import main
from leopold_model.frame_tracks import track_of_frames
from leopold_model.frames import Frame, write_frames
from leopold_model.tracks import TrackError
from tests.analysis.crystals import mgo

ATOMS = mgo((2, 2, 2))
OXYGEN = [int(i) for i in np.flatnonzero(ATOMS.numbers == 8)]
NEAREST = min(OXYGEN[1:], key=lambda j: ATOMS.get_distance(OXYGEN[0], j, mic=True))
PATH = (OXYGEN[0], NEAREST)


def frame(step: int, site: int, **changes) -> Frame:
    """MgO with a hole on `site`, all atoms pushed along x so far that they cross the cell and are put back."""
    moments = np.full(len(ATOMS), 0.01)
    moments[site] = 0.8
    positions = (
        (ATOMS.positions + np.array([0.03 * step, 0, 0])) @ np.linalg.inv(ATOMS.cell.array) % 1 @ ATOMS.cell.array
    )
    values = {"numbers": ATOMS.numbers, "positions": positions, "cell": ATOMS.cell.array, "moments": moments,
              "carrier": "hole", "carrier_sites": (site,), "run": "a", "step": step, "temperature": 600.0}  # fmt: skip
    return Frame(**values | changes)


def dynamics(n: int = 300, **changes) -> list[Frame]:
    return [frame(step, PATH[step >= n // 2], **changes) for step in range(n)]


def test_hops_of_first_principles_frames_are_counted(tmp_path):
    write_frames(tmp_path / "fpmd.h5", [*dynamics(), *dynamics(run="b", temperature=900.0)])
    command = ["hops", str(tmp_path / "fpmd.h5"), "--timestep", "0.5", "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["seen"] == ["O-O 2.97 A <110> x12"]
    for row, temperature in zip(found["rates"], (600.0, 900.0), strict=True):
        assert row["temperature"] == temperature and row["counts"]["hops"] == 1
    hop = found["replicas"][0]["table"]["hops"][0]
    assert (hop["i"], hop["j"]) == PATH and hop["time"] == pytest.approx(0.5 * 149.5)


def test_mean_positions_follow_an_atom_through_the_boundary():
    found = track_of_frames(dynamics(), 1.0).replicas[0].mean_positions
    moved = found - found[0] - (ATOMS.positions - ATOMS.positions[0])
    moved -= np.round(moved @ np.linalg.inv(ATOMS.cell.array)) @ ATOMS.cell.array
    np.testing.assert_allclose(moved, 0, atol=1e-9)


def test_frames_alone_do_not_say_how_far_they_are_apart(tmp_path):
    write_frames(tmp_path / "fpmd.xyz", dynamics(10))
    result = CliRunner().invoke(main, ["transport", str(tmp_path / "fpmd.xyz")])
    assert result.exit_code == 1 and "--timestep" in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: [*f[:20], *f[23:]], "step 23: 4 steps after"),
        (lambda f: [*f[:20], f[20], f[20]], "step 20: 0 steps after"),
        (lambda f: [*f[:20], replace(f[20], cell=1.01 * f[20].cell)], "step 20: its cell"),
        (lambda f: [*f[:20], replace(f[20], moments=None)], "step 20: neither occupations nor moments"),
        (lambda f: [*f[:20], replace(f[20], numbers=f[20].numbers[::-1])], "step 20: other atoms"),
        (lambda f: [*f[:20], replace(f[20], carrier_sites=PATH)], "step 20: 2 carrier sites, 1 before"),
        (lambda f: [*f[:20], replace(f[20], temperature=float("nan"))], "without a temperature"),
        (lambda f: [], "no frames"),
    ],
)
def test_what_cannot_be_counted_is_explained(change, message):
    with pytest.raises(TrackError, match=message):
        track_of_frames(change(dynamics(30)), 1.0)
