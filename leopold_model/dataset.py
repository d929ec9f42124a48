"""From frames to what a compiled loop eats: checked, split by run, scaled, padded to a few fixed shapes.

A *bucket* holds frames of similar size with their pair lists, padded to one shape, so that a whole epoch compiles once
per bucket. Pair vectors are formed here in float64; the structures never move during training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import struct

from leopold_model.charge import charge_state
from leopold_model.frames import Frame, carrier_sites, resolved
from leopold_model.graph import edge_vectors, neighbours
from leopold_model.radial import covalent_onset

ATOM_STEP, PAIR_STEP = 16, 128  # sizes are rounded up to these, so that nearly equal frames share a compilation
MIN_DISTANCE = 0.5  # Angstrom; closer atoms are a mistake in the file, not a structure


class DataError(ValueError):
    """Frames that cannot be trained or evaluated on; the message names the frame, the fault and the remedy."""


@struct.dataclass
class Bucket:
    """F frames of at most n atoms and P pairs, padded. Energies are relative to the species' references.

    `vectors` (F, P, 3), `senders`, `receivers` (F, P), `edge_mask` (F, P), `species`, `charge`, `atom_mask` (F, n),
    `n_atoms` (F,), `energy` (F,), `forces` (F, n, 3), `virial` (F, 3, 3), `has_virial` (F,), `occupations` (F, n, 2),
    `weight` (F,), `surface` (F,) factor on energy, forces and virial in the loss.
    """

    vectors: jnp.ndarray
    senders: jnp.ndarray
    receivers: jnp.ndarray
    edge_mask: jnp.ndarray
    species: jnp.ndarray
    charge: jnp.ndarray
    atom_mask: jnp.ndarray
    n_atoms: jnp.ndarray
    energy: jnp.ndarray
    forces: jnp.ndarray
    virial: jnp.ndarray
    has_virial: jnp.ndarray
    occupations: jnp.ndarray
    weight: jnp.ndarray
    surface: jnp.ndarray


@dataclass(frozen=True)
class Scales:
    """What the training set says about sizes, in eV, Angstrom and e; arrays by species (ascending atomic number).

    `references` (n_species,) least-squares energy per atom; `force_rms`; `occupation_shift`, `occupation_scale`
    (n_species, 2) mean and spread; `repulsion_onset` (n_species, n_species) shortest distance seen; `mean_neighbours`.
    """

    references: np.ndarray
    force_rms: float
    occupation_shift: np.ndarray
    occupation_scale: np.ndarray
    repulsion_onset: np.ndarray
    mean_neighbours: float


def usable(frames: Sequence[Frame], where: str) -> tuple[list[Frame], dict]:
    """The frames that may be learned from, and how many were left out and why.

    Unconverged frames are dropped and counted, and those in which several carriers do not have a site each, where the
    charge state the network is told would be none. Refused with DataError: an empty set, NaN labels, missing labels,
    overlapping atoms, frames of different settings, carriers or numbers of carriers, and flags that do not sit on the
    most magnetised atoms in more than half of the frames (such labels teach the network a wrong charge state).
    """
    converged = [f for f in frames if f.converged]
    for k, frame in enumerate(converged):
        _check(frame, f"{where}: frame {k} ({frame.run or 'no run'}, step {frame.step})")
    same_kind(converged, where)
    kept = [f for f in converged if resolved(np.sort(_moments(f))[::-1], len(f.carrier_sites))]
    counts = {
        "frames": len(frames),
        "unconverged_dropped": len(frames) - len(converged),
        "unresolved_dropped": len(converged) - len(kept),
        "flag_not_on_largest_moment": sum(
            f.carrier_sites != carrier_sites(_moments(f), len(f.carrier_sites)) for f in kept
        ),
    }
    if not kept:
        raise DataError(
            f"{where} has no usable frame ({len(frames)} given, {counts['unconverged_dropped']} unconverged, "
            f"{counts['unresolved_dropped']} with carriers merged or lost): give labelled frames"
        )
    if counts["flag_not_on_largest_moment"] > len(kept) / 2:
        raise DataError(
            f"{where}: carrier_sites differs from the most magnetised atoms in "
            f"{counts['flag_not_on_largest_moment']} of {len(kept)} frames: set it from the moments"
        )
    return kept, counts


def same_kind(frames: Sequence[Frame], where: str) -> None:
    """DataError unless all frames share reference settings, kind of carrier and number of carriers."""
    distinct = {
        "settings": {f.settings or "unknown" for f in frames},
        "carrier": {f.carrier for f in frames},
        "number of carriers": {str(len(f.carrier_sites)) for f in frames},
    }
    for name, values in distinct.items():
        if len(values) > 1:
            raise DataError(f"{where} mixes frames of different {name} {sorted(values)}: train on one at a time")


def _moments(frame: Frame) -> np.ndarray:
    return np.asarray(frame.spin_moments)


def _check(frame: Frame, name: str) -> None:
    if not np.isfinite(frame.energy):
        raise DataError(f"{name}: energy is {frame.energy}: label the frame again or remove it")
    if frame.occupations is None:
        raise DataError(f"{name}: no occupations: they come from onsite matrices (LDAUPRINT >= 1 in VASP)")
    for field in ("positions", "forces", "occupations"):
        value = getattr(frame, field)
        if value is None or not np.isfinite(value).all():
            raise DataError(
                f"{name}: {field} {'missing' if value is None else 'hold NaN'}: label it again or remove it"
            )
    if not frame.carrier_sites:
        raise DataError(f"{name}: carrier_sites is empty: the network must be told where the carrier sits")


def split_by_run(frames: Sequence[Frame], fraction: float) -> tuple[list[Frame], list[Frame]]:
    """(training, validation): the last `fraction` of every run in time is held out; runs too short for one frame train.

    Neighbouring steps are nearly copies of each other, so a random split would report the error of interpolation.
    """
    runs = defaultdict(list)
    for frame in frames:
        runs[frame.run].append(frame)
    train, validation = [], []
    for run in runs.values():
        run.sort(key=lambda f: f.step)
        held = int(len(run) * fraction)
        train += run[: len(run) - held]
        validation += run[len(run) - held :]
    if not validation:
        raise DataError(
            f"no run is long enough to hold out {fraction:g} of it ({len(frames)} frames in {len(runs)} runs): "
            "give `validation` frames or a larger `validation_fraction`"
        )
    return train, validation


def elements_of(frames: Sequence[Frame]) -> tuple[int, ...]:
    """Atomic numbers present, ascending."""
    return tuple(sorted({int(z) for f in frames for z in np.unique(f.numbers)}))


def fit_references(frames: Sequence[Frame], energies: np.ndarray, elements: tuple[int, ...]) -> np.ndarray:
    """Energy per atom of each species (n_species,) that fits `energies` (F,) best, eV; of one composition only, the
    species share the mean with least norm."""
    composition = np.array([[np.sum(f.numbers == z) for z in elements] for f in frames], dtype=float)
    return np.linalg.lstsq(composition, energies, rcond=None)[0]


def scales(frames: Sequence[Frame], elements: tuple[int, ...], cutoff: float) -> Scales:
    """Measure the training set."""
    references = fit_references(frames, np.array([f.energy for f in frames]), elements)
    numbers = np.concatenate([f.numbers for f in frames])
    occupations = np.concatenate([f.occupations for f in frames])
    shift, scale = np.zeros((len(elements), 2)), np.ones((len(elements), 2))
    for k, z in enumerate(elements):
        shift[k], scale[k] = occupations[numbers == z].mean(axis=0), occupations[numbers == z].std(axis=0)
    onset, degrees = np.full((len(elements),) * 2, np.inf), []
    for f in frames:
        edges = neighbours(f.positions, f.cell, f.pbc, cutoff)
        r = np.linalg.norm(edge_vectors(f.positions, f.cell, edges), axis=1)
        a, b = (np.searchsorted(elements, f.numbers[k]) for k in (edges.senders, edges.receivers))
        np.minimum.at(onset, (a, b), r)
        degrees.append(2 * len(r) / len(f))
    onset = np.minimum(onset, onset.T)
    onset = np.where(np.isfinite(onset), onset, covalent_onset(elements))
    force_rms = float(np.sqrt(np.mean(np.concatenate([f.forces for f in frames]) ** 2)))
    return Scales(references, max(force_rms, 1e-3), shift, np.maximum(scale, 1e-6), onset, float(np.mean(degrees)))


def buckets(
    frames: Sequence[Frame],
    species: Sequence[np.ndarray],
    references,
    cutoff: float,
    dtype,
    hop_weight: float = 1.0,
    surface: Sequence[float] | None = None,
    images: str = "all",
) -> list[tuple[Bucket, np.ndarray]]:
    """Padded frames grouped by size, each group with the positions of its frames in `frames`.

    `species` are the frames' species indices, `references` (n_species,) eV, `surface` (len(frames),) a factor on the
    energy, forces and virial of each frame in the loss (None: 1). Labels a frame lacks become NaN (energy, forces,
    occupations) or are masked (virial), so that evaluation can report on what there is. `images` as in
    `graph.neighbours`.
    """
    lists = []
    for k, f in enumerate(frames):
        edges = neighbours(f.positions, f.cell, f.pbc, cutoff, images=images)
        vectors = edge_vectors(f.positions, f.cell, edges)
        shortest = np.linalg.norm(vectors, axis=1).min(initial=np.inf)
        if shortest < MIN_DISTANCE:
            raise DataError(
                f"frame {k} ({f.run}, step {f.step}): two atoms are {shortest:.2f} Angstrom apart: remove it"
            )
        lists.append((edges, vectors))
    groups = defaultdict(list)
    for k, f in enumerate(frames):
        groups[_up(len(f), ATOM_STEP)].append(k)
    out = []
    for n, members in sorted(groups.items()):
        pairs = _up(max(1, *(lists[k][0].capacity for k in members)), PAIR_STEP)
        rows = [_row(frames[k], species[k], references, *lists[k], n, pairs) for k in members]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        stacked["weight"] = np.array([hop_weight if frames[k].pathway else 1.0 for k in members])
        stacked["surface"] = np.ones(len(members)) if surface is None else np.asarray(surface, dtype=float)[members]
        arrays = {k: jnp.asarray(v, dtype if v.dtype.kind == "f" else None) for k, v in stacked.items()}
        out.append((Bucket(**arrays), np.array(members)))
    return out


def _row(f: Frame, species, references, edges, vectors, n: int, pairs: int) -> dict:
    def atoms(a, shape=(), fill=0.0):
        a = np.full((len(f), *shape), np.nan) if a is None else np.asarray(a)
        return np.concatenate([a, np.full((n - len(f), *shape), fill, dtype=a.dtype)])

    def rows(a):
        return np.concatenate([a, np.zeros((pairs - len(a), *a.shape[1:]), dtype=a.dtype)])

    volume = abs(np.linalg.det(f.cell))
    return {
        "vectors": rows(vectors), "senders": rows(edges.senders), "receivers": rows(edges.receivers),
        "edge_mask": rows(edges.mask), "species": atoms(species.astype(np.int32)),
        "charge": atoms(charge_state(len(f), f.carrier_sites)), "atom_mask": np.arange(n) < len(f),
        "n_atoms": np.array(float(len(f))), "energy": np.array(f.energy - references[species].sum()),
        "forces": atoms(f.forces, (3,)), "virial": np.zeros((3, 3)) if f.stress is None else f.stress * volume,
        "has_virial": np.array(float(f.stress is not None)), "occupations": atoms(f.occupations, (2,)),
    }  # fmt: skip


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
