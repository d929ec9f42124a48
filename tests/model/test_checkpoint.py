"""The model file comes back bit for bit, and what is not one is refused with a reason."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from leopold_model.checkpoint import ModelError, load_model, read_header, save_model

from .conftest import random_model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip_is_exact(tmp_path, dtype):
    model = random_model(dtype=dtype, ensemble=2)
    save_model(tmp_path / "m.leopold", model)
    back = load_model(tmp_path / "m.leopold")
    assert back.spec == model.spec and back.header == model.header and back.dtype == dtype
    assert np.array_equal(back.references, model.references)
    assert jax.tree.structure(back.params) == jax.tree.structure(model.params)
    for a, b in zip(jax.tree.leaves(model.params), jax.tree.leaves(back.params), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)


def test_header_is_one_line_of_json(tmp_path, model):
    save_model(tmp_path / "m.leopold", model)
    header = json.loads((tmp_path / "m.leopold").read_bytes().split(b"\n")[0])
    assert header == read_header(tmp_path / "m.leopold")
    assert header["spec"]["elements"] == [8, 12] and header["carrier"] == "hole"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-8], "cut short"),
        (lambda data: data + b"\0", "bytes too many"),
        (lambda data: b"\x80\x04 a pickle", "not a LEOPOLD model file"),
        (lambda data: b'{"format": "other"}\n', "not a LEOPOLD model file"),
        (lambda data: data.replace(b'"format_version": 1', b'"format_version": 9', 1), "newer than 1: update leopold"),
        (lambda data: data.replace(b'"variant": "default"', b'"variant": "strange"', 1), "variant 'strange'"),
        (lambda data: data.replace(b'"n_radial"', b'"n_unknown"', 1), "update leopold"),
    ],
)
def test_damaged_or_foreign_files(tmp_path, model, damage, message):
    path = tmp_path / "m.leopold"
    save_model(path, model)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=message):
        load_model(path)


def test_absent_file(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        load_model(tmp_path / "none.leopold")


def test_unseen_species_is_named(model):
    assert model.species_index([12, 8, 8]).tolist() == [1, 0, 0]
    with pytest.raises(ModelError, match="species F, Ti not in this model, which was trained on O, Mg"):
        model.species_index([8, 22, 9])
