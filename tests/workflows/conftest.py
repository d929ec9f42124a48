"""A temporary AiiDA profile for every test of this folder; the user's own configuration is never touched."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

# importing aiida makes its configuration folder: it must not be the user's
os.environ["AIIDA_PATH"] = tempfile.mkdtemp(prefix="leopold-tests-")

import numpy as np
import pytest

# imported rather than named in `pytest_plugins`, which pytest allows only in the topmost conftest
from aiida.tools.pytest_fixtures import *  # noqa: F403
from ase.build import bulk

from leopold_model.frames import Frame
from leopold_model.tracks import ReplicaTrack, TrackFile, Windows, write_track

MGO = 4.181  # Angstrom, lattice constant


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


@pytest.fixture(scope="module")
def crystal():
    """MgO, 64 atoms sorted by species."""
    atoms = bulk("MgO", "rocksalt", a=MGO, cubic=True).repeat(2)
    return atoms[np.argsort([a.symbol for a in atoms], kind="stable")]


@pytest.fixture
def host(crystal):
    """It as a node."""
    from aiida import orm

    return orm.StructureData(ase=crystal)


@pytest.fixture
def make_track(crystal, tmp_path):
    """A track in which the carrier stays `stay` steps on each of `sites`, with a window around every change; how far a
    committee disagrees in the windows is `doubts`, in turn. A guard stopped the replicas `stopped`, 8 steps after the
    last of the track, and those without a site at once."""
    from leopold_workflows.data.track import TrackData

    def before_the_end(site, rows):
        moments = np.tile(0.7 * np.eye(len(crystal))[site], (1, len(rows), 1))
        return Windows(
            positions=crystal.positions + 1e-3 * rows[None, :, None, None],
            step=rows[None],
            carrier=np.full((1, len(rows), 1), site),
            moments=moments,
            occupations=np.stack([moments, 0 * moments], -1),
            force_spread=np.zeros((1, len(rows))),
        )

    def halted(k):
        return ReplicaTrack(
            temperature=600.0 + 300 * k, replica=k, timestep=1.0, seed=1, cell=crystal.cell.array,
            positions=crystal.positions, sites=np.zeros((0, 2), int), moments=np.zeros((0, 2)),
            carrier=np.zeros((0, 1), int), status="unstable",
            ending=before_the_end(len(crystal) - 1, np.arange(-9, -4)),
        )  # fmt: skip

    def make(*routes, stay=200, windows=True, doubts=(0.0,), stopped=()):
        replicas = []
        for k, sites in enumerate(routes):
            steps = stay * len(sites)
            if not sites:
                replicas.append(halted(k))
                continue
            carrier = np.repeat(sites, stay)
            other = np.where(carrier == sites[0], sites[-1], sites[0])
            if len(set(sites)) == 1:
                other = np.full(steps, (sites[0] + 1) % len(crystal))
            changes = np.flatnonzero(np.diff(carrier)) + 1
            rows = changes[:, None] + np.arange(-30, 31, 5)
            kept = Windows(
                positions=np.broadcast_to(crystal.positions, (*rows.shape, len(crystal), 3))
                + 1e-3 * rows[..., None, None],
                step=rows,
                carrier=carrier[rows][..., None],
                moments=np.eye(len(crystal))[carrier[rows]] * 0.7,
                occupations=np.stack([np.eye(len(crystal))[carrier[rows]], np.zeros((*rows.shape, len(crystal)))], -1),
                force_spread=np.resize(doubts, len(rows))[:, None] * np.ones(rows.shape),
            )
            replicas.append(
                ReplicaTrack(
                    temperature=600.0 + 300 * k,
                    replica=k,
                    timestep=1.0,
                    seed=1,
                    cell=crystal.cell.array,
                    positions=crystal.positions,
                    sites=np.stack([carrier, other], 1),
                    moments=np.tile([0.7, 0.05], (steps, 1)),
                    carrier=carrier[:, None],
                    windows=kept if windows else None,
                )
            )
            if k in stopped:
                replicas[-1] = replace(
                    replicas[-1], status="unstable", ending=before_the_end(sites[-1], steps + 7 - np.arange(60, -1, -5))
                )
        path = tmp_path / "track.h5"
        write_track(path, TrackFile(crystal.numbers, "hole", 1, tuple(replicas)))
        return TrackData(path)

    return make


@pytest.fixture
def sites(crystal):
    """Three oxygen atoms: `a`, a nearest neighbour `near` of it, and `far`, one a (100) lattice constant away."""
    oxygen = [i for i, s in enumerate(crystal.get_chemical_symbols()) if s == "O"]
    d = crystal.get_distances(oxygen[0], oxygen, mic=True)
    near = oxygen[int(np.flatnonzero(np.isclose(d, MGO / np.sqrt(2)))[0])]
    far = oxygen[int(np.flatnonzero(np.isclose(d, MGO))[0])]
    return oxygen[0], near, far


@pytest.fixture(scope="module")
def _learned_once():
    """What `learned` made the first time a file asked."""
    return {}


@pytest.fixture
def learned(_learned_once, make_track, make_frames, host, sites):
    """Outputs of a finished study, see `finished_study.learned_outputs`."""
    from tests.workflows.finished_study import learned_outputs

    if not _learned_once:
        _learned_once.update(learned_outputs(make_track, make_frames, host, sites))
    return dict(_learned_once)


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

    from ase.data import atomic_numbers

    from leopold_workflows.data.model import ModelData

    def make(elements=("Mg", "O"), tag=""):
        spec = {"elements": sorted(atomic_numbers[e] for e in elements)}
        header = {"format": "leopold-model", "spec": spec, "carrier": "hole", "n_carriers": 1, "tag": tag}
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
