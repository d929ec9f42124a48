"""Small structures and untrained networks: symmetry and derivatives must hold for any parameters."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from leopold_model import network
from leopold_model.checkpoint import Model
from leopold_model.frames import Frame
from leopold_model.graph import edge_vectors, neighbours


def small_spec(**changes) -> network.Spec:
    settings = {
        "elements": (8, 12), "cutoff": 4.0, "layers": 2, "scalars": 6, "vectors": 3, "n_radial": 4,
        "radial_hidden": (5,), "head_hidden": 4, "mean_neighbours": 30.0,
    }  # fmt: skip
    return network.Spec(**(settings | changes))


def random_model(seed: int = 0, dtype="float64", **changes) -> Model:
    """Random parameters, random scales as well, so that a forgotten one shows."""
    spec = small_spec(**changes)
    params = network.init(seed, spec, dtype)
    rng = np.random.default_rng(seed)
    params["scales"] |= {
        "occupation_scale": params["scales"]["occupation_scale"] + rng.uniform(size=(2, 2)).astype(dtype),
        "occupation_shift": params["scales"]["occupation_shift"] + rng.normal(size=(2, 2)).astype(dtype),
    }
    return Model(spec, params, np.array([-4.0, -2.0]), {"carrier": "hole", "n_carriers": 1})


def rattled(repeat=(2, 1, 1), amplitude=0.15, seed=0):
    atoms = bulk("MgO", "rocksalt", a=4.18, cubic=True) * repeat
    atoms.positions += np.random.default_rng(seed).normal(size=atoms.positions.shape) * amplitude
    return atoms


def teacher_frames(n_frames: int, *, run="a", seed=0, repeat=(1, 1, 1), stride=1) -> list[Frame]:
    """Labels with known physics and no engine: a spring on every Mg-O bond, softer and longer on the carrier's ion,
    whose moment grows with its bonds."""
    ideal = bulk("MgO", "rocksalt", a=4.18, cubic=True) * repeat
    rng, frames, n = np.random.default_rng(seed), [], len(ideal)
    oxygen = np.flatnonzero(ideal.numbers == 8)
    for step in range(0, n_frames * stride, stride):
        site = int(rng.choice(oxygen))
        positions = ideal.positions + rng.normal(size=(n, 3)) * 0.08
        edges = neighbours(positions, ideal.cell.array, True, 2.6)
        bonds = ideal.numbers[edges.senders] != ideal.numbers[edges.receivers]
        i, j = edges.senders[bonds], edges.receivers[bonds]
        d = edge_vectors(positions, ideal.cell.array, edges)[bonds]
        r = np.linalg.norm(d, axis=1)
        held = (i == site) | (j == site)
        stiffness, stretch = np.where(held, 2.0, 4.0), r - np.where(held, 2.15, 2.05)
        pull = (stiffness * stretch / r)[:, None] * d
        forces, moments = np.zeros((n, 3)), np.zeros(n)
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        moments[site] = 0.7 + 0.2 * stretch[held].sum()
        base = np.where(ideal.numbers == 8, 1.8, 3.0)
        frames.append(
            Frame(
                numbers=ideal.numbers, positions=positions, cell=ideal.cell.array, forces=forces,
                energy=-5.0 * n + 0.5 * (stiffness * stretch**2).sum(),
                occupations=np.stack([base + moments / 2, base - moments / 2], axis=1),
                carrier="hole", carrier_sites=(site,), run=run, step=step, temperature=300.0, settings="s",
            )
        )  # fmt: skip
    return frames


@pytest.fixture(scope="session")
def model() -> Model:
    return random_model()
