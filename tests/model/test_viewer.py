"""The film of a carrier: what it is drawn from, and that a browser draws it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from leopold_model.frames import Frame, FrameError
from leopold_model.tracks import ReplicaTrack, TrackFile, Windows
from leopold_model.viewer import Viewer, hop_viewer
from tests.browser import needs_browser, seen

CELL = np.diag([4.0, 5.0, 6.0])


@pytest.fixture
def film() -> list[Frame]:
    """Two atoms: one leaves through the boundary and comes back on the other side; the carrier goes to the other."""
    at = np.array([[[3.9, 1, 1], [2, 2, 2]], [[0.1, 1, 1], [2, 2, 2]], [[0.3, 1, 1], [2, 2, 2]]])
    moments = np.array([[0.7, 0.0], [0.4, 0.4], [0.0, 0.7]])
    return [
        Frame(
            np.array([8, 12]), at[k], CELL, moments=moments[k], carrier="hole", carrier_sites=(int(k > 1),), step=5 * k
        )
        for k in range(3)
    ]


def test_atoms_do_not_jump_across_the_boundary(film):
    positions = np.array(Viewer(film)._data()["positions"])
    assert np.abs(np.diff(positions, axis=0)).max() < 0.5
    assert positions[0, 0] == pytest.approx([3.9 - 2, 1 - 2.5, 1 - 3]), "from the middle of the cell"


def test_the_page_needs_nothing_from_elsewhere_and_a_notebook_shows_it_whole(film, tmp_path):
    Viewer(film).save(tmp_path / "film.html")
    page = (tmp_path / "film.html").read_text()
    assert not re.search(r"https?://|src=|href=|@import", page)
    shown = Viewer(film)._repr_html_()
    assert shown.count("<") == 2 and shown.startswith("<iframe") and "lang=&quot;en&quot;" in shown


def test_what_cannot_be_shown_is_named(film):
    with pytest.raises(FrameError, match="no frames"):
        Viewer([])
    with pytest.raises(FrameError, match="step 5: neither occupations nor moments"):
        Viewer([film[0], replace(film[1], moments=None)])
    with pytest.raises(FrameError, match="step 5: other atoms"):
        Viewer([film[0], replace(film[1], numbers=np.array([8, 8]))])
    with pytest.raises(FrameError, match="2 times for 3 frames"):
        Viewer(film, [0.0, 1.0])


def test_a_window_of_dynamics_is_a_film(film):
    def stacked(name):
        return np.array([[getattr(frame, name) for frame in film]])

    windows = Windows(
        positions=stacked("positions"), step=stacked("step"), carrier=stacked("carrier_sites"),
        moments=stacked("moments"), occupations=np.zeros((1, 3, 2, 2)), force_spread=np.zeros((1, 3)),
    )  # fmt: skip
    replica = ReplicaTrack(
        temperature=300.0, replica=0, timestep=2.0, seed=0, sites=np.zeros((3, 2), int), moments=np.zeros((3, 2)),
        carrier=np.zeros((3, 1), int), cell=CELL, positions=film[0].positions, windows=windows,
    )  # fmt: skip
    track = TrackFile(film[0].numbers, "hole", 1, (replica,))
    data = hop_viewer(track)._data()
    assert data["titles"] == ["0 fs", "10 fs", "20 fs"] and data["carriers"] == [[0], [0], [1]]
    with pytest.raises(FrameError, match="window = 1: replica 0 has 1 windows"):
        hop_viewer(track, window=1)


@needs_browser
def test_a_browser_plays_it(film, tmp_path):
    """The carrier's ring, in its colour, is drawn; the film goes on by itself; the slider stops it."""
    Viewer(film).save(tmp_path / "film.html")
    ring = """(() => {
      slider.value = 2; slider.oninput();
      const drawn = pen.getImageData(0, 0, canvas.width, canvas.height).data;
      let pixels = 0;
      for (let k = 0; k < drawn.length; k += 4) pixels += drawn[k] == 213 && drawn[k + 1] == 94 && drawn[k + 2] == 0;
      return {pixels, frame, running, title: title.textContent, words: document.body.innerText};
    })()"""
    found = seen(tmp_path / "film.html", tmp_path, ring)
    assert found["errors"] == [] and found["loaded"] == []
    told = found["extra"]
    assert told["pixels"] > 20 and told["frame"] == 2 and not told["running"] and told["title"] == "step 10"
    assert "Mg" in told["words"] and "the carrier's site" in told["words"]
