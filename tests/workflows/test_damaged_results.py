"""What jobs leave behind, damaged anywhere: every parser ends with an exit code, none of them raises."""

import io
import json

import numpy as np
import pytest
from aiida.orm import CalcJobNode, FolderData
from aiida.parsers import Parser
from aiida.plugins import ParserFactory

from leopold_model.patterns.annealing import anneal
from leopold_model.patterns.descriptor import DescriptorConfig
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.sampling import Sampler
from leopold_model.patterns.settings import AnnealConfig
from leopold_model.tracks import ReplicaTrack, TrackFile, write_track
from tests.patterns.random_models import random_model

CODES = (0, 310, 311, 410, 430, 510)
NUMBERS = {"forces": {"rmse": 0.05}, "n_frames": 3}
HOSTILE = ("null", "[]", "{}", '"a"', "[" * 20_000, '{"status": "finished"}', '{"status": ["finished"]}',
           '{"status": "finished", "replicas": [1]}', '{"status": "finished", "replicas": 3}',
           '{"suggestions": [{"occupations": "ab"}]}', '{"suggestions": [[]]}', '{"suggestions": 7}',
           '{"status": "no_barrier"}', '{"errors": 3, "status": "finished"}', '{"train": "\\u0000"}')  # fmt: skip


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of a job of each kind that ended well."""
    folder = tmp_path_factory.mktemp("whole")
    sites = np.tile([0, 1], (9, 1))
    replica = ReplicaTrack(300.0, 0, 1.0, 1, sites, 0.5 * sites, sites[:, :1], np.eye(3), np.zeros((2, 3)))
    write_track(folder / "track.h5", TrackFile(np.array([12, 8]), "hole", 1, (replica,)))
    lattice = load_lattice("tio2_110")
    model = random_model(lattice, DescriptorConfig(window=(1, 1, 1)))
    model.save(folder / "patterns.npz")
    chains = AnnealConfig(temperature=300.0, moves=2, blocks=1, chains=1)
    composition = lattice.composition("6x4")
    anneal(Sampler(model, lattice.supercell("6x4")), composition, chains, checkpoint=folder / "anneal.h5")
    read = {path.name: path.read_bytes() for path in folder.iterdir()}
    suggestion = {"occupations": [0, 1], "energy_eV": -1.0, "spread_eV": 0.1}
    results = {
        "leopold.train": ({"status": "finished", "errors": {"test": NUMBERS}}, "model.leopold"),
        "leopold.md": ({"status": "finished", "replicas": [{"status": "finished"}]}, "track.h5"),
        "leopold.evaluate": (NUMBERS, "predictions.npz"),
        "leopold.barrier.learned": ({"status": "finished", "barrier": 0.1}, None),
        "leopold.patterns.train": ({"train": NUMBERS, "validation": NUMBERS}, "patterns.npz"),
        "leopold.patterns.suggest": ({"suggestions": [suggestion]}, None),
        "leopold.patterns.anneal": ({"lowest": -1.0}, "anneal.h5"),
    }
    read["model.leopold"] = (
        json.dumps({"format": "leopold-model", "spec": {"elements": [8]}}).encode() + b"\n" + bytes(64)
    )
    read["predictions.npz"] = npz(moments=np.zeros(4))
    return {
        job: {"result.json": json.dumps(result).encode()} | ({name: read[name]} if name else {})
        for job, (result, name) in results.items()
    }


JOBS = ["train", "md", "evaluate", "barrier.learned", "patterns.train", "patterns.suggest", "patterns.anneal"]


@pytest.fixture
def end_of(aiida_localhost, monkeypatch):
    """Status and message of the parser of a job that left these files: `end_of(job, files)`."""
    job_nodes = {}

    def parse(job, files):
        if job not in job_nodes:
            job_nodes[job] = CalcJobNode(computer=aiida_localhost, process_type=f"aiida.calculations:leopold.{job}")
        folder = FolderData()
        for name, content in files.items():
            folder.base.repository.put_object_from_filelike(io.BytesIO(content), name)
        monkeypatch.setattr(Parser, "retrieved", folder)
        code = ParserFactory(f"leopold.{job}")(job_nodes[job]).parse()
        return (0, "") if code is None else (code.status, code.message)

    return parse


@pytest.mark.parametrize("job", JOBS)
def test_whole_and_missing_results(end_of, whole, job):
    files = whole[f"leopold.{job}"]
    assert end_of(job, files) == (0, "")
    for name in files:
        left = {other: content for other, content in files.items() if other != name}
        status, message = end_of(job, left | {"leopold.err": b"\xff\xfe No space left on device\n"})
        assert status == 310 and "No space left on device" in message


@pytest.mark.parametrize("job", JOBS)
def test_damaged_results_end_with_a_code(end_of, whole, job):
    files, random = whole[f"leopold.{job}"], np.random.default_rng(len(job))
    for text in HOSTILE:
        assert end_of(job, files | {"result.json": text.encode()})[0] in CODES, text
    for name, content in files.items():
        for end in (0, 1, len(content) // 2):
            # the arrays of a model are not looked at here
            assert end_of(job, files | {name: content[:end]})[0] == 311 or name == "model.leopold", (name, end)
        for _ in range(10):
            damaged = bytearray(content)
            for at in random.integers(len(content), size=4):
                damaged[at] = random.integers(256)
            assert end_of(job, files | {name: bytes(damaged)})[0] in CODES, (name, bytes(damaged))
