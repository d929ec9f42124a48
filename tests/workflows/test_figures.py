"""Figures from finished processes: what is drawn follows from the outputs there are."""

import csv

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from click.testing import CliRunner

from leopold_workflows.calculations.functions_hops import catalogue_of
from leopold_workflows.cli import main
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.figures import draw
from tests.unrendered import unrendered  # noqa: F401
from tests.workflows.finished_study import study

pytestmark = pytest.mark.usefixtures("unrendered")

HOPS = {"species": "O", "cutoff": 5.0}


def job(label, inputs, outputs) -> orm.CalcJobNode:
    """A finished job with these inputs and outputs."""
    node = orm.CalcJobNode()
    node.set_process_label(label)
    for name, data in inputs.items():
        node.base.links.add_incoming(data.store(), link_type=LinkType.INPUT_CALC, link_label=name)
    node.store()
    for name, data in outputs.items():
        data.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label=name)
        data.store()
    node.set_process_state("finished")
    node.set_exit_status(0)
    return node.seal()


def test_a_study_is_drawn_whole(learned, make_track, host, sites, tmp_path):
    """Production has hops of its own, the hop in pictures is one that was sent to the reference."""
    a, near, _ = sites
    track = make_track([a, near], windows=False).store()
    hops = catalogue_of(track, host, orm.Dict(HOPS), orm.Str("production"))
    process = study(**learned, production__track=track, production__catalogue=hops)
    found = set(draw(process, tmp_path).values())
    assert found - {"diffusion_lag.png"} == {
        "pathways.png", "learning_curve.png", "moments.png", "directions.png", "rates.png", "mobility.png",
        "mobility_directions.png", "layers.png", "tau_min.png", "hop.png",
    }  # fmt: skip
    with (tmp_path / "directions.csv").open() as handle:
        assert sum(int(row["hops"]) for row in csv.DictReader(handle)) == 1, "of production, not of learning"
    with (tmp_path / "pathways.csv").open() as handle:
        assert sum(int(row["hops"]) for row in csv.DictReader(handle)) == 5, "of learning, with its labels"


def test_an_exploration_has_rates_and_a_hop_of_its_windows(make_track, host, sites, tmp_path):
    a, near, _ = sites
    track = make_track([a, near, a]).store()
    hops = catalogue_of(track, host, orm.Dict(HOPS), orm.Str("explore-01"))
    found = set(draw(study(track=track, catalogue=hops), tmp_path).values())
    assert found == {"pathways.png", "directions.png", "rates.png", "layers.png", "tau_min.png", "hop.png"}
    assert (tmp_path / "hop.gif").is_file()
    alone = draw(study(track=track), tmp_path / "alone")
    assert set(alone.values()) == {"directions.png", "layers.png", "tau_min.png", "hop.png"}, (
        "its crystal is that of the dynamics"
    )


def test_an_evaluation_is_held_against_its_frames(make_frames, tmp_path):
    frames = make_frames(2)
    moments = np.concatenate([f.spin_moments for f in frames]) + 0.1
    node = job(
        "EvaluateCalculation",
        {"frames": FrameSetData.from_frames(frames)},
        {"predictions": orm.ArrayData({"moments": moments}), "results": orm.Dict({"n_frames": 2})},
    )
    assert set(draw(node, tmp_path).values()) == {"moments.png"}
    with (tmp_path / "moments.csv").open() as handle:
        rows = [(float(r["model_muB"]), float(r["reference_muB"])) for r in csv.DictReader(handle)]
    assert len(rows) == 8, "the four O of two frames"
    assert all(model - reference == pytest.approx(0.1) for model, reference in rows)


def test_show_figures_draws_or_says_why_not(tmp_path):
    line = {
        "s": [0.0, 0.5, 1.0], "energy_i": [0.0, 0.1, 0.3], "energy_j": [0.3, 0.1, 0.0], "on_j": [False, False, True],
        "energy_lower": [0.0, 0.1, 0.0], "moments": [[[0.7, 0.0], [0.0, 0.7]]] * 3, "verdict": "diabatic",
    }  # fmt: skip
    hop = orm.Dict({"sites": [4, 5], "pathway": "a", **line, "neb": None, "reference": None}).store()

    def show(pk):
        return CliRunner().invoke(main, ["show", "figures", str(pk), "--folder", str(tmp_path / "drawn")])

    drawn = show(study(barrier=hop).pk)
    assert drawn.exit_code == 0, drawn.output
    assert "barrier.png  Energies and moments along the hop" in drawn.output.replace("\n", "")
    assert {p.suffix for p in (tmp_path / "drawn").iterdir()} == {".png", ".pdf", ".csv"}
    assert "has no output that a figure is drawn of" in show(study().pk).output
    assert "is a Dict, not a process" in show(hop.pk).output
    assert "no node with PK or UUID 99999" in show(99999).output
