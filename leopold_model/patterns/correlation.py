"""How defects of one kind are spaced along an axis: autocorrelation functions of their occupations.

    g_m(d) = <n(x, y) n(x + d, y + m)> / c^2

averaged over all sites, for sites in the same row (m = 0) and in adjacent ones (the mean of m = +1 and -1); n is 1 or
0, c the share of occupied sites. 1 means no correlation; g_0(0) = 1/c. Error bars are standard errors over independent
configurations (seeds), which must not come from one chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np

from leopold_model.patterns import PatternError
from leopold_model.patterns.supercell import Supercell


@dataclass(frozen=True)
class Autocorrelation:
    """`distances` (d,) in sites along `axis`, `spacing` Angstrom between them; `values` and `errors` (rows, d) for the
    rows that are `rows` (r,) apart, errors nan for one configuration; `concentration` the share of sites occupied."""

    label: str
    species: str
    axis: int
    spacing: float
    rows: tuple[int, ...]
    distances: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    concentration: float
    configurations: int

    def to_dict(self) -> dict:
        """JSON-ready."""
        plain = asdict(self)
        return plain | {
            "distances": self.distances.tolist(),
            "values": self.values.tolist(),
            "errors": [[None if np.isnan(e) else e for e in row] for row in self.errors.tolist()],
            "rows": list(self.rows),
        }

    @classmethod
    def from_dict(cls, data: Mapping) -> Autocorrelation:
        """Inverse of `to_dict`; further keys are left alone."""
        own = {field.name: data[field.name] for field in fields(cls)}
        errors = [[np.nan if e is None else e for e in row] for row in data["errors"]]
        return cls(
            **own
            | {
                "rows": tuple(data["rows"]),
                "distances": np.array(data["distances"]),
                "values": np.array(data["values"]),
                "errors": np.array(errors),
            }
        )

    def peak(self, row: int = 0) -> int:
        """The distance of the highest value, d = 0 in the same row left out."""
        first = 1 if self.rows[row] == 0 else 0
        return int(self.distances[first + np.argmax(self.values[row, first:])])


def autocorrelation(
    supercell: Supercell,
    occupations: np.ndarray,
    label: str,
    species: str,
    *,
    axis: int = 0,
    rows: tuple[int, ...] = (0, 1),
) -> Autocorrelation:
    """g of configurations (n, n_sites) for a species on the sites of a label, along the parent axis `axis`; rows follow
    each other along the next periodic axis. Distances go to half the supercell."""
    lattice, matrix = supercell.lattice, supercell.matrix
    sites = [b for b, name in enumerate(lattice.site_labels) if name == label]
    if len(sites) != 1:
        known = ", ".join(dict.fromkeys(lattice.site_labels))
        raise PatternError(
            f"label {label!r} has {len(sites)} sites per cell of {lattice.name} ({known}): name one with 1"
        )
    if np.count_nonzero(matrix) != 3 or (np.diag(matrix) < 1).any():
        raise PatternError(f"supercell matrix {matrix.tolist()}: rows are those of a supercell of plain repeats")
    code = lattice.code(species)
    if axis not in np.flatnonzero(lattice.pbc):
        raise PatternError(f"axis = {axis}: choose a periodic one of {np.flatnonzero(lattice.pbc).tolist()}")
    other = next(int(a) for a in np.roll(np.flatnonzero(lattice.pbc), -1) if a != axis)
    occupations = np.atleast_2d(occupations)
    there = occupations[:, sites[0] :: lattice.n_sites].reshape(len(occupations), *np.diag(matrix)) == code
    field = np.moveaxis(there, (axis + 1, other + 1), (1, 2)).reshape(
        len(there), matrix[axis, axis], matrix[other, other], -1
    )
    concentration = field.mean(axis=(1, 2, 3))
    if (concentration == 0).any():
        raise PatternError(f"configuration {int(np.argmin(concentration))} has no {species} on {label}")
    if max(rows) >= field.shape[2]:
        raise PatternError(f"rows = {rows}: the supercell has {field.shape[2]} rows across axis {axis}")
    # correlation theorem: the whole function of distance and row at once
    transform = np.fft.fftn(field, axes=(1, 2))
    whole = np.fft.ifftn(np.abs(transform) ** 2, axes=(1, 2)).real.mean(axis=3) / (field.shape[1] * field.shape[2])
    g = whole / concentration[:, None, None] ** 2
    distances = np.arange(field.shape[1] // 2 + 1)
    # +d and -d in row m are -d and +d in row -m: the mean over both is that over the two adjacent rows
    each = np.stack([(g[:, distances, m] + g[:, distances, -m]) / 2 for m in rows], axis=1)
    error = each.std(axis=0, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.full(each.shape[1:], np.nan)
    return Autocorrelation(
        label=label,
        species=species,
        axis=axis,
        spacing=float(np.linalg.norm(lattice.cell[axis])),
        rows=tuple(rows),
        distances=distances,
        values=each.mean(axis=0),
        errors=error,
        concentration=float(concentration.mean()),
        configurations=len(each),
    )
