"""A temporary AiiDA profile for every test of this folder; the user's own configuration is never touched."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

# importing aiida makes its configuration folder: it must not be the user's
os.environ["AIIDA_PATH"] = tempfile.mkdtemp(prefix="leopold-tests-")

import numpy as np
import pytest

# imported rather than named in `pytest_plugins`, which pytest allows only in the topmost conftest
from aiida.tools.pytest_fixtures import *  # noqa: F403

from leopold_model.frames import Frame


@pytest.fixture(autouse=True)
def _profile(aiida_profile):
    """Load the temporary profile (SQLite, no broker) before anything asks for one."""


@pytest.fixture
def make_frames():
    """Small labelled frames with a hole on atom `site`: `make_frames(n, site=4, run='a', seed=0)`."""

    def make(n: int = 3, *, site: int = 4, run: str = "a", seed: int = 0, **fields) -> list[Frame]:
        random = np.random.default_rng(seed)
        numbers = np.array([12, 12, 12, 12, 8, 8, 8, 8])
        ideal = (
            4.181
            / 2
            * np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
        )
        frames = []
        for step in range(n):
            moments = np.full(8, 0.01)
            moments[site] = 0.7
            defaults = {
                "energy": -40.0 + 0.1 * random.normal(), "forces": random.normal(size=(8, 3)), "moments": moments,
                "carrier": "hole", "carrier_sites": (site,), "source": "fpmd", "run": run, "step": step + 1,
                "temperature": 600.0, "settings": "s",
            }  # fmt: skip
            positions = ideal + 0.05 * random.normal(size=(8, 3))
            frames.append(Frame(numbers=numbers, positions=positions, cell=4.181 * np.eye(3), **defaults | fields))
        return frames

    return make


@pytest.fixture
def standin(aiida_localhost, aiida_code_installed):
    """The VASP stand-in as a code."""
    return aiida_code_installed(
        default_calc_job_plugin="leopold.vasp",
        computer=aiida_localhost,
        label="vasp-standin",
        filepath_executable=str(Path(sys.executable).parent / "leopold-vasp-standin"),
        prepend_text="export OMP_NUM_THREADS=1",
    )


@pytest.fixture
def mgo(standin):
    """The study of MgO with a hole in its 64-atom cell, at the level `fast`."""
    from leopold_workflows.vasp.study import study

    return study(standin, material_name="mgo", level="fast")


@pytest.fixture
def vasp_inputs(mgo):
    """Inputs of one VASP run: `vasp_inputs(stage, incar={...}, sites=[...], **more)`; the hole is on atom 32."""
    from leopold_workflows.vasp import adapter

    def make(stage="static", *, structure=None, sites=(32,), run="test", **more):
        return adapter.job_inputs(
            mgo.vasp, structure or mgo.structure, mgo.carrier, stage=stage, sites=sites, run=run, **more
        )

    return make


@pytest.fixture
def leopold_code(aiida_localhost):
    """A code called `leopold` that nothing runs: for inputs and folders."""
    from aiida.orm import InstalledCode

    return InstalledCode(label="leopold", computer=aiida_localhost, filepath_executable="/bin/true").store()


@pytest.fixture
def make_model():
    """A model node with a header and no network: `make_model(elements=["Mg", "O"], tag="")`."""
    import io
    import json

    from leopold_workflows.data.model import ModelData

    def make(elements=("Mg", "O"), tag=""):
        header = {"format": "leopold-model", "elements": list(elements), "carrier": "hole", "n_carriers": 1, "tag": tag}
        return ModelData(io.BytesIO(json.dumps(header).encode() + b"\n"))

    return make


@pytest.fixture
def parse_job(aiida_localhost):
    """Parse retrieved files without running a job: `parse_job('leopold.train', {name: text or bytes})`."""
    import io

    from aiida.common.links import LinkType
    from aiida.orm import CalcJobNode, FolderData
    from aiida.plugins import ParserFactory
    from aiida.plugins.entry_point import format_entry_point_string

    def parse(entry_point: str, files: dict):
        node = CalcJobNode(
            computer=aiida_localhost,
            process_type=format_entry_point_string("aiida.calculations", entry_point),
        )
        node.set_option("resources", {"num_machines": 1, "num_mpiprocs_per_machine": 1})
        node.store()
        retrieved = FolderData()
        for name, content in files.items():
            content = content.encode() if isinstance(content, str) else content
            retrieved.base.repository.put_object_from_filelike(io.BytesIO(content), name)
        retrieved.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label="retrieved")
        retrieved.store()
        return ParserFactory(entry_point).parse_from_node(node, store_provenance=False)

    return parse
