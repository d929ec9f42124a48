"""Files from strangers: damaged anywhere, or made to harm, they are read or refused in words, and nothing else."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
import struct
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leopold_model.checkpoint import ModelError, load_model, save_model
from leopold_model.config import ConfigError, load
from leopold_model.convert_command import convert
from leopold_model.frames import Frame, FrameError, read_frames, write_frames
from leopold_model.md_files import CheckpointError, create_trajectory, load_checkpoint, save_checkpoint
from leopold_model.patterns import PatternError
from leopold_model.patterns.annealing import anneal, read_patterns
from leopold_model.patterns.descriptor import DescriptorConfig
from leopold_model.patterns.labels import Labels, LabelSet, read_labels, write_labels
from leopold_model.patterns.lattice_file import SHIPPED, load_lattice
from leopold_model.patterns.network import load_pattern_model
from leopold_model.patterns.sampling import Sampler
from leopold_model.patterns.settings import AnnealConfig
from leopold_model.tracks import ReplicaTrack, TrackError, TrackFile, Windows, read_track, write_track
from leopold_model.vasp.occmatrix import read_occmatrix, write_occmatrix
from leopold_model.vasp.outcar import read_outcar
from leopold_model.vasp.poscar import read_poscar, write_poscar
from leopold_model.vasp.reduced import read_reduced, write_reduced
from leopold_model.vasp.run import VaspError
from leopold_model.vasp.vaspout import read_vaspout
from leopold_model.vasp.vasprun import read_vasprun
from tests.model.conftest import random_model
from tests.model.published_model import pickled
from tests.patterns.random_models import random_model as random_patterns
from tests.vasp.outcar_text import Sample
from tests.vasp.vaspout_file import write_vaspout
from tests.vasp.vasprun_text import calculation, vasprun

MEGABYTE = 1 << 20
READERS = {
    "model.leopold": (load_model, ModelError),
    "published.pkl": (lambda path: convert(path, "O Mg", "hole"), ModelError),
    "frames.h5": (read_frames, FrameError),
    "frames.xyz": (read_frames, FrameError),
    "frames.xyz.gz": (read_frames, FrameError),
    "track.h5": (read_track, TrackError),
    "trajectory.h5": (read_track, TrackError),
    "checkpoint.h5": (lambda path: load_checkpoint(path, "of this run"), CheckpointError),
    "train.yaml": (lambda path: load(path, "train"), ConfigError),
    "lattice.yaml": (load_lattice, PatternError),
    "labels.h5": (read_labels, PatternError),
    "patterns.npz": (load_pattern_model, PatternError),
    "anneal.h5": (read_patterns, PatternError),
    "OUTCAR": (read_outcar, VaspError),
    "OUTCAR.gz": (read_outcar, VaspError),
    "OUTCAR.xz": (read_outcar, VaspError),
    "OUTCAR.bz2": (read_outcar, VaspError),
    "vasprun.xml": (read_vasprun, VaspError),
    "vaspout.h5": (read_vaspout, VaspError),
    "run.h5": (read_reduced, VaspError),
    "POSCAR": (read_poscar, VaspError),
    "OCCMATRIX": (read_occmatrix, VaspError),
}


# what damage draws from, beside any bytes
HOSTILE = (b"\xff" * 8, b"\x00" * 8, b"9999999999", b"-1", b"nan", b"[[[[", b"&a *a", b"&x;")
HDF5 = [name for name in READERS if name.endswith(".h5")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One sound file for every reader."""
    made = tmp_path_factory.mktemp("sound")
    rng = np.random.default_rng(0)
    frame = Frame([12, 8], rng.random((2, 3)), 4 * np.eye(3), -1.0, np.ones((2, 3)), moments=[0, 0.7], carrier="hole",
                  carrier_sites=(1,), label="a")  # fmt: skip
    for name in ("frames.h5", "frames.xyz", "frames.xyz.gz"):
        write_frames(made / name, [frame, frame])
    save_model(made / "model.leopold", random_model())
    pickled(made).rename(made / "published.pkl")
    windows = Windows(np.zeros((1, 3, 2, 3)), np.arange(3)[None], np.zeros((1, 3, 1), int), np.zeros((1, 3, 2)),
                      np.zeros((1, 3, 2, 2)), np.zeros((1, 3)))  # fmt: skip
    sites = np.tile([0, 1], (9, 1))
    replica = ReplicaTrack(300.0, 0, 1.0, 1, sites, 0.5 * sites, sites[:, :1], np.eye(3), np.zeros((2, 3)),
                           windows=windows)  # fmt: skip
    write_track(made / "track.h5", TrackFile(frame.numbers, "hole", 1, (replica,)))
    create_trajectory(made / "trajectory.h5", frame.numbers, [np.eye(3)], frame.pbc, "track.h5")
    save_checkpoint(made / "checkpoint.h5", "of this run", {"replica/0/step": np.arange(3)})
    (made / "train.yaml").write_text("kind: train\nframes: frames.h5\nepochs: 3\nnetwork: {cutoff: 4.0}\nloss: {}\n")
    (made / "lattice.yaml").write_text((SHIPPED / "tio2_110.yaml").read_text())
    lattice = load_lattice("tio2_110")
    cell = lattice.supercell("3x2")
    write_labels(made / "labels.h5", LabelSet(lattice, (Labels(cell, np.zeros((2, cell.n_sites)), [0.0, 1.0]),)))
    patterns = random_patterns(lattice, DescriptorConfig(window=(1, 1, 1)))
    patterns.save(made / "patterns.npz")
    config = AnnealConfig(temperature=300.0, moves=2, blocks=1, chains=1)
    anneal(Sampler(patterns, cell), lattice.composition("6x4"), config, checkpoint=made / "anneal.h5")
    sample = Sample()
    text = sample.text().encode()
    packers = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
    for suffix, pack in packers.items():
        (made / f"OUTCAR{suffix}").write_bytes(pack(text))
    write_reduced(made / "run.h5", read_outcar(made / "OUTCAR"))
    write_vaspout(made / "vaspout.h5", sample)
    (made / "vasprun.xml").write_text(vasprun(calculation(1) + calculation(2)))
    write_poscar(made / "POSCAR", frame.to_atoms(), np.zeros((2, 3)))
    write_occmatrix(made / "OCCMATRIX", {0: (2, np.eye(5), 0.5 * np.eye(5))})
    return made


@pytest.mark.parametrize("name", READERS)
def test_every_sound_file_is_read(folder, name):
    READERS[name][0](folder / name)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_words(folder, name, data):
    read, error = READERS[name]
    whole = (folder / name).read_bytes()
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(HOSTILE)))
        content[at : at + len(new)] = new
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]
    path = folder / f"damaged {name}" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        read(path)
    except error as said:
        assert name in str(said)  # and it is the error that the reader promises


@pytest.fixture
def refused(folder, tmp_path):
    """Read `content` as the file `name`: it must be refused in words, with hardly any memory."""

    def check(name, content, match=""):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        read, error = READERS[name]
        tracemalloc.start()
        try:
            with pytest.raises(error, match=match):
                read(path)
            assert tracemalloc.get_traced_memory()[1] < 64 * MEGABYTE
        finally:
            tracemalloc.stop()

    return check


@pytest.fixture
def changed(folder, tmp_path):
    """The bytes of a sound HDF5 file after `change(file)`."""

    def make(name, change):
        path = tmp_path / f"changed-{name}"
        path.write_bytes((folder / name).read_bytes())
        with h5py.File(path, "r+") as h5:
            change(h5)
        return path.read_bytes()

    return make


@pytest.mark.parametrize("name", HDF5)
def test_arrays_that_were_never_written_are_not_made_room_for(changed, refused, name):
    def promise(h5):
        h5.create_dataset("more/promised", (1 << 40,), "f8", chunks=(1 << 10,))

    refused(name, changed(name, promise), r"arrays of 8\.8e\+12 bytes in a file of")


@pytest.mark.parametrize("name", HDF5)
def test_content_of_other_files_is_not_read(changed, refused, tmp_path, name):
    with h5py.File(tmp_path / "private.h5", "w") as h5:
        h5["secret"] = np.arange(8.0)
    (tmp_path / "private.txt").write_bytes(bytes(64))

    def link(h5):
        h5["more"] = h5py.ExternalLink(str(tmp_path / "private.h5"), "secret")

    def storage(h5):
        h5.create_dataset("more", (8,), "f8", external=[(str(tmp_path / "private.txt"), 0, 64)])

    def virtual(h5):
        layout = h5py.VirtualLayout((8,), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "private.h5"), "secret", (8,))
        h5.create_virtual_dataset("more", layout)

    for change, match in ((link, "is a link to"), (storage, "kept in another"), (virtual, "kept in another")):
        refused(name, changed(name, change), match)


def test_a_trajectory_links_to_a_track_beside_it_only(changed, refused, folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "track.h5").write_bytes((folder / "track.h5").read_bytes())

    def to(target):
        def change(h5):
            del h5["leopold_track"]
            h5["leopold_track"] = h5py.ExternalLink(target, "/")

        return changed("trajectory.h5", change)

    for target in ("elsewhere/track.h5", str(tmp_path / "elsewhere" / "track.h5"), "../track.h5"):
        refused("trajectory.h5", to(target), "not beside it")
    refused("trajectory.h5", to("trajectory.h5"), "is a link to")


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_text_that_unpacks_without_end_is_given_up(monkeypatch, tmp_path, pack):
    monkeypatch.setattr("leopold_model.foreign.ALLOWED", MEGABYTE)
    path = tmp_path / "OUTCAR"
    path.write_bytes(pack(bytes(20 * MEGABYTE)))
    tracemalloc.start()
    try:
        assert not read_outcar(path).steps
        assert tracemalloc.get_traced_memory()[1] < 16 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_frames_that_unpack_without_end_are_refused(monkeypatch, refused):
    monkeypatch.setattr("leopold_model.foreign.ALLOWED", MEGABYTE)
    refused("frames.xyz.gz", gzip.compress(b"2000000\n\n" + b"H 0 0 0\n" * 2_000_000), "unpack it first")


def test_arrays_that_unpack_without_end_are_refused(monkeypatch, refused, tmp_path):
    monkeypatch.setattr("leopold_model.foreign.ALLOWED", MEGABYTE)
    np.savez_compressed(tmp_path / "zeros.npz", header=np.zeros(MEGABYTE))
    refused("patterns.npz", (tmp_path / "zeros.npz").read_bytes(), "arrays of 8.4e.06 bytes")
    with zipfile.ZipFile(tmp_path / "promise.npz", "w") as archive:
        head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}\n"
        archive.writestr("header.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
    refused("patterns.npz", (tmp_path / "promise.npz").read_bytes(), r"arrays of 8\.8e\+12 bytes")


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("POSCAR", "a\n1\n1 0 0\n0 1 0\n0 0 1\nTi\n999999999999\nDirect\n0 0 0\n", "counts"),
        ("frames.xyz", "999999999999\n\nH 0 0 0\n", "ends after 1"),
        ("frames.xyz", "1\nProperties=species:S:1:pos:R:999999999\nH 0 0 0\n", "Properties of 1000000000 columns"),
        ("frames.xyz", "0\nProperties=species:S:1:pos:R:999999999\n", "Properties of 1000000000 columns"),
        ("OCCMATRIX", "999999999999\n1 2 2\n", "ends before"),
    ],
)
def test_more_atoms_than_there_are_lines_are_not_made_room_for(refused, name, text, match):
    refused(name, text, match)


@pytest.mark.parametrize(
    "line",
    ["   number of ions     NIONS = 999999999999", "ions per type = 999999999999"],
)
def test_outcar_of_more_atoms_than_a_cell_can_have(folder, tmp_path, line):
    text = (folder / "OUTCAR").read_bytes().partition(b"\n")
    (tmp_path / "OUTCAR").write_bytes(text[0] + b"\n   " + line.encode() + b"\n" + text[2])
    tracemalloc.start()
    try:
        read_outcar(tmp_path / "OUTCAR")
        assert tracemalloc.get_traced_memory()[1] < 64 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_entities_of_xml_are_neither_fetched_nor_unfolded(tmp_path):
    (tmp_path / "private.txt").write_text("secret")
    laughs = "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 12))
    for entities, body in (
        (f'<!ENTITY a0 "ha">{laughs}', "&a11;"),
        (f'<!ENTITY a SYSTEM "file://{tmp_path}/private.txt">', "&a;"),
    ):
        text = f'<?xml version="1.0"?><!DOCTYPE m [{entities}]><modeling><i name="NELM">{body}</i></modeling>'
        (tmp_path / "vasprun.xml").write_text(text)
        tracemalloc.start()
        try:
            run = read_vasprun(tmp_path / "vasprun.xml")
            assert not run.steps and not run.finished and tracemalloc.get_traced_memory()[1] < 64 * MEGABYTE
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("name", ["train.yaml", "lattice.yaml"])
def test_yaml_neither_unfolds_nor_calls(refused, tmp_path, name):
    laughs = "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 12))
    refused(name, f"a0: &a0 [ha]\n{laughs}", "unfold")
    refused(name, "kind: &a [*a]\n", "unfold")
    refused(name, "[" * 10_000, "not valid YAML")
    refused(name, "kind: 2001-99-99\n", "not valid YAML")
    refused(name, f"kind: !!python/object/apply:os.mkdir ['{tmp_path}/ran']\n", "not valid YAML")
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def header(folder):
    """The bytes of the sound model with `changes` to its header."""

    def make(spec=None, **changes):
        line, _, arrays = (folder / "model.leopold").read_bytes().partition(b"\n")
        told = json.loads(line) | changes
        told["spec"] |= spec or {}
        return json.dumps(told).encode() + b"\n" + arrays

    return make


def test_a_header_that_its_arrays_do_not_bear_out(header, refused):
    for spec in ({"scalars": 10**9}, {"n_radial": 10**9}, {"layers": -1}, {"cutoff": float("nan")}, {"elements": [1]},
                 {"elements": [12, 8]}, {"elements": [8, 400]}, {"vectors": 7}):  # fmt: skip
        refused("model.leopold", header(spec), "model.leopold")
    for arrays in ([["a", "|O", [1]]], [["a", "<f8", [-1]]], [["a", "<f8", [1 << 62, 4]]], "all", [[]]):
        refused("model.leopold", header(arrays=arrays), "header: arrays")
    for changes in ({"carrier": 3}, {"n_carriers": 0}, {"format_version": None}, {"images": "nearest"},
                    {"variant": ["default"]}, {"calibration": {"energy": "high"}}, {"cell": [[1]]}):  # fmt: skip
        refused("model.leopold", header(**changes), "model.leopold")
    refused("model.leopold", b'{"format": ' + b"[" * 100_000, "not a LEOPOLD model")


class Evil:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.folder),)


def test_pickles_run_nothing_and_make_room_for_nothing(refused, tmp_path):
    refused("published.pkl", pickle.dumps(Evil(tmp_path / "ran")), "nothing of it was run")
    refused("published.pkl", b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"ab.", "damaged")
    refused("published.pkl", b"\x80\x04]r\xff\xff\xff\x7f.", "damaged")
    np.savez(tmp_path / "evil.npz", header=np.array([Evil(tmp_path / "ran")], dtype=object))
    refused("patterns.npz", (tmp_path / "evil.npz").read_bytes(), "no readable .npz")
    assert not (tmp_path / "ran").exists()


def test_lattices_and_supercells_without_bounds_are_refused(folder, changed, refused, tmp_path):
    def matrix(h5):
        h5["supercell_0/matrix"][...] = np.diag([10**6, 10**6, 1])

    refused("labels.h5", changed("labels.h5", matrix), "parent cells")
    text = (folder / "lattice.yaml").read_text()
    (tmp_path / "near.yaml").write_text(text)
    refused("lattice.yaml", text.replace("structure:", "structure: {file: near.yaml}\nold:", 1), "lattice.yaml")
    with np.load(folder / "patterns.npz") as file:
        arrays = dict(file)
    told = json.loads(str(arrays.pop("header")))
    for descriptor in ({"window": [10**6] * 3}, {"kind": "free", "cutoff": 1e9}):
        made = json.dumps(told | {"descriptor": told["descriptor"] | descriptor})
        np.savez(tmp_path / "wide.npz", header=np.array(made), **arrays)
        refused("patterns.npz", (tmp_path / "wide.npz").read_bytes(), "less than or equal")
