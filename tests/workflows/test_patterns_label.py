"""Configurations of defects and carriers to the reference and back: labels are what was reached."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from leopold_model.patterns.composition import random_configuration
from leopold_workflows.workchains.patterns import PatternsWorkChain
from leopold_workflows.workchains.patterns_label import LabelPatternsWorkChain


@pytest.fixture
def study(standin, aiida_code_installed, aiida_localhost):
    leopold = aiida_code_installed(filepath_executable="leopold", computer=aiida_localhost, label="leopold")
    return PatternsWorkChain.get_builder_from_protocol(
        standin, leopold, material="tio2_110_thin", protocol="fast", overrides={"patterns": {"supercell": "4x2"}}
    )


def test_labels_are_of_the_configurations_that_were_reached(study):
    from leopold_workflows.calculations.functions_patterns import read_lattice

    instance = read_lattice(study.learn.lattice)
    cell, rng = instance.supercell("4x2"), np.random.default_rng(0)
    rows = np.array([random_configuration(cell, instance.composition("4x2"), rng) for _ in range(3)])
    inputs = dict(study.learn.label._inputs(prune=True))
    outputs, node = run_get_node(
        LabelPatternsWorkChain, lattice=study.learn.lattice, supercell=study.learn.supercell,
        configurations=orm.ArrayData({"occupations": rows}), **inputs,
    )  # fmt: skip
    print(node.exit_message, outputs["outcomes"].get_dict() if "outcomes" in outputs else outputs)
    print(outputs["labels"].base.attributes.all)
    assert node.is_finished_ok, node.exit_message
