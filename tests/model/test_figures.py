"""Every figure of a track and of results in files, without AiiDA."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from leopold_model import figures
from leopold_model.analysis.catalogue import build_catalogue
from leopold_model.cli import main
from leopold_model.tracks import ReplicaTrack, TrackFile, Windows, write_track
from tests.analysis import crystals
from tests.unrendered import unrendered  # noqa: F401


@pytest.fixture(scope="module")
def rutile():
    """Atoms, two neighbours along [001], a dopant beside the first."""
    atoms = crystals.rutile((2, 2, 3))
    host = crystals.host(atoms, "Ti")
    i = int(np.flatnonzero(atoms.symbols == "Ti")[0])
    j = int(np.flatnonzero(np.isclose(atoms.get_distances(i, range(len(atoms)), mic=True), 2.959))[0])
    near = atoms.get_distances(i, range(len(atoms)), mic=True)
    atoms.symbols[int(np.argsort(near)[1])] = "F"
    return atoms, host, i, j


def track_of(atoms, i, j, *, windows=True):
    """Two replicas at 300 K that go from i to j and back, 200 fs on each, a window around the first hop."""
    carrier = np.repeat([i, j, i], 200)
    sites = np.stack([carrier, np.where(carrier == i, j, i)], axis=1)
    rows = np.arange(170, 231, 10)
    moments = np.zeros((1, len(rows), len(atoms)))
    moments[0, np.arange(len(rows)), carrier[rows]] = 0.8
    kept = Windows(
        positions=np.broadcast_to(atoms.positions, (1, len(rows), len(atoms), 3)),
        step=rows[None],
        carrier=carrier[rows][None, :, None],
        moments=moments,
        occupations=np.stack([moments, 0 * moments], axis=-1),
        force_spread=np.zeros((1, len(rows))),
    )
    replicas = tuple(
        ReplicaTrack(
            temperature=300.0, replica=k, timestep=1.0, seed=k, sites=sites, moments=np.tile([0.8, 0.05], (600, 1)),
            carrier=carrier[:, None], cell=atoms.cell.array, positions=atoms.positions,
            windows=kept if windows else None,
        )
        for k in range(2)
    )  # fmt: skip
    return TrackFile(atoms.numbers, "electron", 1, replicas)


def test_a_track_shows_layers_defects_and_a_hop(rutile, tmp_path):
    atoms, host, i, j = rutile
    track = track_of(atoms, i, j)
    found = figures.of_track(tmp_path, track, build_catalogue(track, host, cutoff=4.0))
    assert set(found.values()) == {"layers.png", "defects.png", "hop.png"}
    assert all((tmp_path / name).with_suffix(s).is_file() for name in found.values() for s in (".png", ".pdf", ".csv"))
    assert (tmp_path / "hop.gif").read_bytes().startswith(b"GIF")


def test_the_hop_shown_is_one_that_happens_within_its_window(rutile):
    atoms, host, i, j = rutile
    track = track_of(atoms, i, j)
    hop = figures.pictured(track, build_catalogue(track, host, cutoff=4.0))
    assert (hop.i, hop.j, hop.name) == (i, j, "Ti-Ti 2.96 A [001] x2 @1-1")
    assert hop.times[0] == pytest.approx(-29.5, abs=1.0) and hop.moments[0, i] == hop.moments[-1, j] == pytest.approx(
        0.8
    )
    bare = track_of(atoms, i, j, windows=False)
    assert figures.pictured(bare, build_catalogue(bare, host, cutoff=4.0)) is None


@pytest.mark.usefixtures("unrendered")
def test_plot_draws_tracks_and_results_and_names_what_it_cannot(rutile, tmp_path):
    _, host, i, j = rutile
    pristine = crystals.rutile((2, 2, 3))
    track = track_of(pristine, i, j, windows=False)
    write_track(tmp_path / "track.h5", track)
    catalogue = build_catalogue(track, host, cutoff=4.0)
    (tmp_path / "hops.json").write_text(json.dumps(catalogue.to_dict()))

    def plot(name):
        return CliRunner().invoke(main, ["plot", str(tmp_path / name), "--folder", str(tmp_path / name[:-5])])

    drawn = plot("hops.json")
    assert drawn.exit_code == 0, drawn.output
    assert {p.name for p in (tmp_path / "hops").glob("*.png")} == {"directions.png", "rates.png", "tau_min.png"}
    drawn = CliRunner().invoke(main, ["plot", str(tmp_path / "track.h5"), "--folder", str(tmp_path / "all")])
    assert drawn.exit_code == 0, drawn.output
    names = {"directions.png", "rates.png", "mobility.png", "mobility_directions.png", "layers.png"}
    assert names <= {p.name for p in (tmp_path / "all").glob("*.png")}
    assert all(name in drawn.output for name in names)
    (tmp_path / "other.json").write_text("{}")
    refused = plot("other.json")
    assert refused.exit_code == 1 and "not the JSON of `leopold hops`" in str(refused.exception)
