"""A finished process as an archive: it holds no POTCAR, and answers on another profile as it does at home."""

import bz2
import gzip
import json
import lzma
import zipfile

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage.configuration import profile_context
from aiida.storage.sqlite_temp import SqliteTempBackend
from aiida.tools.archive import create_archive, import_archive
from aiida_vasp.data.potcar import PotcarData

from leopold_model.frames import Frame
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.provenance import collapsed_graph
from leopold_workflows.queries import node_hours, vasp_runs
from leopold_workflows.vasp.standin_potcar import potcar_text
from leopold_workflows.workchains.label_frames import LabelFramesWorkChain

FAMILY = "licensed"
SECRET = "0.271828182E+01 0.314159265E+01 0.577215664E+00"


@pytest.fixture
def labelled(standin, mgo, tmp_path):
    """The labelling of one frame by jobs of the stand-in, with potentials whose data are SECRET."""
    for name in ("Mg_pv", "O"):
        (tmp_path / FAMILY / name).mkdir(parents=True)
        head, mark, end = potcar_text(name).partition(" End of Dataset")
        (tmp_path / FAMILY / name / "POTCAR").write_text(f"{head}  {SECRET}\n{mark}{end}")
    PotcarData.upload_potcar_family(tmp_path / FAMILY, FAMILY, "potentials with data", stop_if_existing=False)
    atoms = mgo.structure.get_ase()
    positions = atoms.positions + 0.02 * np.random.default_rng(0).normal(size=(64, 3))
    frame = Frame(atoms.numbers, positions, atoms.cell.array, carrier="hole", carrier_sites=(32,))
    builder = LabelFramesWorkChain.get_builder_from_protocol(
        standin, FrameSetData.from_frames([frame]), material="mgo", protocol="fast", potential_family=FAMILY
    )
    outputs, node = run_get_node(builder)
    assert outputs["outcomes"]["total"] == 1
    return node


@pytest.fixture
def earlier():
    """The newest node that other tests left."""
    return max(orm.QueryBuilder().append(orm.Node, project="id").all(flat=True), default=0)


def content(node: orm.Node) -> bytes:
    """Everything that the profile keeps of a node: attributes, extras, label, description, files."""
    told = json.dumps([node.base.attributes.all, node.base.extras.all, node.label, node.description], default=str)
    folders = node.base.repository.walk()
    paths = [folder / name for folder, _, names in folders for name in names]
    files = (unpacked(node.base.repository.get_object_content(str(path), "rb")) for path in paths)
    return told.encode() + b"".join(files)


def unpacked(data: bytes) -> bytes:
    for magic, unpack in ((b"\x1f\x8b", gzip.decompress), (b"\xfd7zXZ", lzma.decompress), (b"BZh", bz2.decompress)):
        if data.startswith(magic):
            return unpack(data)
    return data


def answers(uuid: str):
    node = orm.load_node(uuid)
    runs = [job for job in node.called_descendants if job.process_label == "LeopoldVaspCalculation"]
    of_frames = {run.uuid for name in ("frames", "rejected") for run in vasp_runs(node.outputs[name])}
    outcomes = node.outputs.outcomes.get_dict()
    boxes, arrows = collapsed_graph(node)
    return {run.uuid for run in runs}, of_frames, outcomes, node_hours(node), dict(boxes), dict(arrows)


def test_no_potcar_leaves_the_profile_and_an_archive_answers_elsewhere(earlier, labelled, tmp_path):
    files = orm.QueryBuilder().append(orm.Node, filters={"id": {">": earlier}}).all(flat=True)
    holders = {node.node_type for node in files if SECRET.encode() in content(node)}
    assert holders == {"data.vasp.potcar_file.PotcarFileData."}  # where aiida-vasp keeps it; the search does find it
    archive = create_archive([labelled], filename=tmp_path / "study.aiida")
    with zipfile.ZipFile(archive) as packed:
        for member in packed.namelist():
            assert SECRET.encode() not in unpacked(packed.read(member)), member
    logs = orm.QueryBuilder().append(orm.Log).all(flat=True)
    assert not [log for log in logs if SECRET in log.message]
    uuid = labelled.uuid
    here = answers(uuid)
    assert len(here[0]) == 2
    with profile_context(SqliteTempBackend.create_profile("elsewhere"), allow_switch=True):
        import_archive(archive)
        assert answers(uuid) == here
        assert not orm.QueryBuilder().append(orm.Node, filters={"node_type": {"like": "%potcar_file%"}}).count()
