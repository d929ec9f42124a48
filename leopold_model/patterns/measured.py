"""Measured positions of defects, from microscopy, as the same correlation function that annealing gives.

The file is CSV with a header and columns `x` and `y` in Angstrom, along and across the rows, one line per defect; lines
that begin with # are comments. Positions are snapped to the sites of a label; the area is the smallest rectangle of
whole cells that holds them, without periodic images: pairs are counted against those that fit into the area.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from leopold_model.patterns import PatternError
from leopold_model.patterns.lattice import Lattice


@dataclass(frozen=True)
class Measured:
    """g (rows, d) of measured defects at `distances` (d,) in sites, and the share of sites that hold one; `errors` are
    those of counting."""

    rows: tuple[int, ...]
    distances: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    concentration: float
    defects: int

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {
            "rows": list(self.rows),
            "distances": self.distances.tolist(),
            "values": self.values.tolist(),
            "errors": self.errors.tolist(),
            "concentration": self.concentration,
            "defects": self.defects,
        }


def read_measured(lines: Iterable[str], where: str = "measured") -> np.ndarray:
    """(n, 2) positions in Angstrom."""
    reader = csv.DictReader(line for line in lines if line.strip() and not line.startswith("#"))
    if reader.fieldnames is None or not {"x", "y"} <= set(reader.fieldnames):
        raise PatternError(f"{where}: columns {reader.fieldnames}; give `x` and `y` in Angstrom in the first line")
    try:
        found = np.array([[float(row["x"]), float(row["y"])] for row in reader])
    except (TypeError, ValueError):
        raise PatternError(f"{where}: a line without two numbers `x` and `y`") from None
    if len(found) < 2 or not np.isfinite(found).all():
        raise PatternError(f"{where}: {len(found)} finite positions; at least 2 make a pair")
    return found


def measured_correlation(
    lattice: Lattice, positions: np.ndarray, *, axis: int = 0, rows: tuple[int, ...] = (0, 1), furthest: int = 12
) -> Measured:
    """g of positions (n, 2) in Angstrom, x along the parent axis `axis` and y across it."""
    other = next(int(a) for a in np.roll(np.flatnonzero(lattice.pbc), -1) if a != axis)
    steps = np.linalg.norm(lattice.cell[[axis, other]], axis=1)
    # the image's origin is anywhere: take out the mean phase of the positions on the lattice of sites
    phase = np.angle(np.exp(2j * np.pi * positions / steps).mean(axis=0)) / (2 * np.pi)
    snapped = np.unique(np.rint(positions / steps - phase).astype(int), axis=0)
    snapped -= snapped.min(axis=0)
    field = np.zeros(snapped.max(axis=0) + 1)
    field[tuple(snapped.T)] = 1
    concentration = field.mean()
    distances = np.arange(min(furthest, len(field) - 1) + 1)
    values, errors = (np.full((len(rows), len(distances)), np.nan) for _ in range(2))
    for i, m in enumerate(rows):
        for k, d in enumerate(distances):
            count, room = _pairs(field, int(d), m)
            if room:
                values[i, k] = count / room / concentration**2
                errors[i, k] = np.sqrt(max(count, 1)) / room / concentration**2
    return Measured(tuple(rows), distances, values, errors, float(concentration), len(snapped))


def _pairs(field: np.ndarray, d: int, m: int) -> tuple[float, int]:
    """Pairs `d` sites along and `m` rows across, in either direction, and how many would fit."""
    count, room = 0.0, 0
    for across in {m, -m}:
        if abs(across) >= field.shape[1]:
            continue
        left, right = field[: len(field) - d], field[d:]
        if across > 0:
            left, right = left[:, :-across], right[:, across:]
        elif across < 0:
            left, right = left[:, -across:], right[:, :across]
        count, room = count + float((left * right).sum()), room + left.size
    return count, room
