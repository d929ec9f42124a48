"""Data nodes: content in is content out, equal content gives equal hashes, and what is queried is an attribute."""

import io
import json
import time

import h5py
import numpy as np
import pytest
from aiida import orm

from leopold_model.frames import content_hash
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.model import ModelData
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.data.track import TrackData


def test_frames_come_back_as_they_went_in(make_frames):
    frames = make_frames(3, run="a") + make_frames(2, run="b", seed=1)
    node = FrameSetData.from_frames(frames).store()
    back = orm.load_node(node.pk)
    assert back.n_frames == len(back) == 5
    assert content_hash(back.get_frames()) == content_hash(frames) == back.base.attributes.get("content_hash")
    assert back.base.attributes.get("runs") == ["a", "b"]
    assert back.base.attributes.get("sources") == {"fpmd": 5}
    assert back.base.attributes.get("elements") == ["Mg", "O"]
    assert back.filename == "frames.h5"


def test_equal_content_gives_equal_hashes_whenever_it_was_made(make_frames):
    first = FrameSetData.from_frames(make_frames())
    time.sleep(1.1)  # HDF5 would stamp objects with the second they were made in
    second = FrameSetData.from_frames(make_frames())
    other = FrameSetData.from_frames(make_frames(seed=1))
    assert first.content == second.content
    hashes = [node.store().base.caching.get_hash() for node in (first, second, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_zero_frames_are_a_valid_set():
    node = FrameSetData.from_frames([]).store()
    assert node.n_frames == 0 and node.get_frames() == []


def test_frames_are_found_by_attribute(make_frames):
    node = FrameSetData.from_frames(make_frames(4, seed=3)).store()
    key = node.base.attributes.get("content_hash")
    query = orm.QueryBuilder().append(FrameSetData, filters={"attributes.content_hash": key}, project="id")
    assert [node.pk] in query.all()


def test_model_header_becomes_attributes():
    header = {"spec": {"elements": [8, 12], "cutoff": 5.0}, "carrier": "hole", "n_carriers": 1}
    node = ModelData(io.BytesIO(json.dumps(header).encode() + b"\n" + bytes(16))).store()
    assert node.header == header and node.base.attributes.get("carrier") == "hole"
    assert node.filename == "model.leopold" and node.elements == ["O", "Mg"]
    for foreign in (bytes(64), b"[1]\n", b'{"spec": {"elements": [8, 400]}}\n'):
        with pytest.raises(ValueError, match="JSON header"):
            ModelData(io.BytesIO(foreign))


def test_track_attributes(tmp_path):
    path = tmp_path / "anything.h5"
    with h5py.File(path, "w") as h5:
        h5.attrs["format"], h5.attrs["carrier"], h5.attrs["n_carriers"] = "leopold-track", "hole", 1
        for k in range(2):
            group = h5.create_group(f"replica_{k:03d}")
            group.attrs.update({"temperature": 300.0 + 300 * k, "timestep": 0.5, "seed": k, "status": "finished"})
            group["sites"] = np.zeros((100, 6), np.int32)
            group["windows/positions"] = np.zeros((k, 13, 8, 3))
    node = TrackData(path).store()
    attributes = node.base.attributes.all
    assert attributes["temperatures"] == [300.0, 600.0] and attributes["duration"] == 100.0
    assert attributes["n_windows"] == 1 and attributes["status"] == ["finished", "finished"]
    with pytest.raises(ValueError, match="readable HDF5"):
        TrackData(io.BytesIO(b"no"))


def test_pathways_do_not_depend_on_key_order():
    a = {"cutoff": 7.0, "pathways": [{"name": "O-O 2.96 A", "hops": 3, "verified_labels": 0}]}
    b = {"pathways": [{"verified_labels": 0, "hops": 3, "name": "O-O 2.96 A"}], "cutoff": 7.0}
    first, second = PathwaySetData.from_catalogue(a), PathwaySetData.from_catalogue(b)
    assert first.content == second.content and first.catalogue == a
    assert first.base.attributes.get("seen") == ["O-O 2.96 A"] and first.base.attributes.get("verified") == []
    with pytest.raises(ValueError, match="unique"):
        PathwaySetData.from_catalogue({"pathways": [{"name": "x"}, {"name": "x"}]})
