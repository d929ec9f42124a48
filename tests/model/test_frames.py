"""The data schema: both file formats keep every field, hashes see content only, bad frames are refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st

from leopold_model.frames import (
    Frame,
    FrameError,
    carrier_sites,
    content_hash,
    read_frames,
    replace,
    write_frames,
)


def make_frame(seed: int, n: int = 3, **changes) -> Frame:
    rng = np.random.default_rng(seed)
    values = {
        "numbers": rng.choice([8, 12], n),
        "positions": rng.random((n, 3)) * 4,
        "cell": np.eye(3) * 4 + rng.random((3, 3)) * 0.1,
        "energy": -float(rng.random()),
        "forces": rng.standard_normal((n, 3)),
        "stress": np.diag(rng.random(3)),
        "occupations": rng.random((n, 2)),
        "moments": rng.random(n),
        "velocities": rng.random((n, 3)) * 0.01,
        "carrier": "hole",
        "carrier_sites": (int(rng.integers(n)),),
        "source": "fpmd",
        "run": f"run{seed}",
        "step": seed,
        "temperature": 300.0,
        "label": "a",
        "pathway": "O-O 2.96 A <110> x12",
        "settings": "0123",
    }
    return Frame(**(values | changes))


@pytest.mark.parametrize("name", ["frames.h5", "frames.xyz", "frames.xyz.gz"])
def test_files_keep_every_field(tmp_path, name):
    frames = [
        make_frame(0),
        make_frame(1, n=5, converged=False, requested_sites=(1, 2), carrier_sites=()),
        make_frame(2, stress=None, occupations=None, moments=None, velocities=None, temperature=float("nan")),
        Frame(numbers=[12, 8], positions=np.zeros((2, 3)), cell=np.eye(3)),
    ]
    write_frames(tmp_path / name, frames)
    back = read_frames(tmp_path / name)
    tolerance = 0 if name == "frames.h5" else 1e-7  # extxyz prints eight decimals
    for a, b in zip(frames, back, strict=True):
        for field in (
            "numbers",
            "positions",
            "cell",
            "forces",
            "stress",
            "occupations",
            "moments",
            "velocities",
        ):
            x, y = getattr(a, field), getattr(b, field)
            assert (x is None) == (y is None), field
            if x is not None:
                np.testing.assert_allclose(x, y, rtol=0, atol=tolerance, err_msg=field)
        for field in (
            "carrier",
            "carrier_sites",
            "requested_sites",
            "source",
            "run",
            "step",
            "label",
            "pathway",
        ):
            assert getattr(a, field) == getattr(b, field), field
        assert a.converged == b.converged
        np.testing.assert_equal(a.temperature, b.temperature)


def test_equal_content_gives_equal_bytes(tmp_path):
    frames = [make_frame(k) for k in range(3)]
    write_frames(tmp_path / "a.h5", frames)
    write_frames(tmp_path / "b.h5", read_frames(tmp_path / "a.h5"))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["energy", "positions", "carrier_sites", "pathway", "converged"]))
def test_hash_sees_every_change(seed, field):
    frame = make_frame(seed)
    value = getattr(frame, field)
    changed = {
        "energy": lambda: value + 1e-12,
        "positions": lambda: value + np.eye(3) * 1e-12,
        "carrier_sites": lambda: ((value[0] + 1) % 3,),
        "pathway": lambda: value + "x",
        "converged": lambda: not value,
    }[field]()
    assert content_hash([frame]) == content_hash([make_frame(seed)])
    assert content_hash([frame]) != content_hash([replace(frame, **{field: changed})])


def test_carrier_sites_are_the_largest_moments():
    assert carrier_sites(np.array([0.1, 0.9, 0.2, 0.8]), 2) == (1, 3)
    assert carrier_sites(np.array([0.5, 0.5]), 1) == (0,)
    with pytest.raises(FrameError, match="3 carriers"):
        carrier_sites(np.array([0.5, 0.5]), 3)


def test_wrong_shapes_and_names_are_refused(tmp_path):
    with pytest.raises(FrameError, match="forces has shape"):
        make_frame(0, forces=np.zeros((2, 3)))
    with pytest.raises(FrameError, match="has no volume"):
        make_frame(0, cell=np.diag([4.0, 4.0, 0.0]))
    with pytest.raises(FrameError, match="carrier_sites"):
        make_frame(0, carrier_sites=(7,))
    with pytest.raises(FrameError, match="'electron' or 'hole'"):
        make_frame(0, carrier="exciton")
    with pytest.raises(FrameError, match="does not exist"):
        read_frames(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(FrameError, match="not a readable HDF5"):
        read_frames(tmp_path / "text.h5")
    atoms = Atoms("MgO", positions=[[0, 0, 0], [2, 0, 0]], cell=[4, 4, 4], pbc=True)
    atoms.info["temprature"] = 300
    write(tmp_path / "foreign.xyz", atoms, format="extxyz")
    with pytest.raises(FrameError, match="temprature"):
        read_frames(tmp_path / "foreign.xyz")
