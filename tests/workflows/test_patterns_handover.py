"""From arrangements that a search found to dynamics of them, and back to the lattice. Minutes: `pytest -m slow`."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from leopold_model.frame_tracks import track_of_frames
from leopold_model.patterns.annealing import AnnealConfig, anneal
from leopold_model.patterns.composition import Composition
from leopold_model.patterns.descriptor import DescriptorConfig
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.residence import residence
from leopold_model.patterns.sampling import Sampler
from leopold_model.patterns.structures import from_structure
from leopold_workflows.calculations.functions_patterns_surface import starts_of
from leopold_workflows.data.patterns import PatternRunData
from leopold_workflows.workchains.seed_configurations import SeedConfigurationsWorkChain
from tests.patterns.random_models import random_model

pytestmark = pytest.mark.slow

THIN = load_lattice("tio2_110_thin")
CELL = THIN.supercell("3x2")
STEPS = 10


@pytest.fixture
def model():
    """Energies in which carriers want to be below the Ti5c row, where the stand-in keeps them."""
    made = random_model(THIN, DescriptorConfig(kind="free", cutoff=5.0), seed=3, scale=0.05)
    for (basis, _), layers in zip(made.descriptor.types, made.layers, strict=True):
        if THIN.lattice.site_labels[basis] == "S1A":
            layers[-1][1][:] -= 2.0
    return made


def test_the_lowest_arrangements_are_where_dynamics_begins(standin, model, tmp_path):
    config = AnnealConfig(temperature=300, start_temperature=3000, moves=2000, blocks=10, chains=4, seed=1)
    composition = Composition(THIN.lattice, {"VO": 1, "polaron": 2})
    anneal(Sampler(model, CELL), composition, config, checkpoint=tmp_path / "anneal.h5")
    run = PatternRunData(tmp_path / "anneal.h5").store()
    lowest = starts_of(run, orm.Dict({"starts": 1}))["lowest"]
    (wanted,) = lowest.get_frames()
    builder = SeedConfigurationsWorkChain.get_builder_from_protocol(
        standin, lowest, material="tio2_110_thin", protocol="fast",
        overrides={
            "material": {"carrier": {"n": 2}},
            "seed": {"temperatures": [300], "stride": 1, "quorum": 1.0},
            "fpmd": {"steps": STEPS, "segment_steps": STEPS},
        },
    )  # fmt: skip
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    (verdict,) = outputs["verdicts"].values()
    assert verdict["outcome"] == "verified" and sorted(verdict["requested"]) == list(wanted.carrier_sites)
    frames = outputs["frames"].get_frames()
    assert len(frames) >= STEPS and {f.run.rpartition("-")[0] for f in frames} == {wanted.run}
    # every step is a configuration of the lattice, with the defects it was given
    defects = CELL.without_carriers(from_structure(CELL, wanted.to_atoms(), wanted.carrier_sites)[0])
    for frame in frames:
        found = from_structure(CELL, frame.to_atoms(), frame.carrier_sites)[0]
        np.testing.assert_array_equal(CELL.without_carriers(found), defects)
    # and the dynamics can be held against the weights of the model that arranged them
    told = residence(model, CELL, track_of_frames(frames, 1.0), moves=1000)
    assert told.elsewhere == 0 and told.labels[int(np.argmax(told.dynamics))] == "S1A"
