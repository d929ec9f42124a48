"""Spin occupations from the tables of the projection spheres, for runs that print no onsite density matrices.

VASP prints those matrices in DFT+U only and if LDAUPRINT asks for them. With LORBIT the charge q and the moment m of
every sphere are printed all the same, by l, with three decimals; q = up + down and m = up - down give both spins. The
spheres are those of the PAW projectors and not of the onsite matrices, so the two kinds of numbers are near each other
but not equal: a model should learn from one of them.
"""

from __future__ import annotations

import numpy as np

from leopold_model.vasp.run import Run, Step


def occupations_from_spheres(run: Run, step: Step) -> np.ndarray | None:
    """Occupations (n, 2) up and down of `step`, None without both tables.

    Where DFT+U names an l per species (LDAUL), those of that l, and zero on species without one, as the traces of the
    onsite matrices would be; else those of the whole sphere.
    """
    if step.charges is None or step.moments is None or step.charges_by_l is None or step.moments_by_l is None:
        return None
    charge, moment = step.charges, step.moments
    if any(shell >= 0 for shell in run.ldau_l) and len(run.ldau_l) == len(run.counts):
        shells = np.repeat(run.ldau_l, run.counts)
        charge, moment = _column(step.charges_by_l, shells), _column(step.moments_by_l, shells)
    return np.round(0.5 * np.stack([charge + moment, charge - moment], axis=1), 4)


def _column(table: np.ndarray, shells: np.ndarray) -> np.ndarray:
    """Row by row the column of `table` (n, l) that `shells` (n,) names; zero where it names none."""
    there = (shells >= 0) & (shells < table.shape[1])
    return np.where(there, np.take_along_axis(table, np.where(there, shells, 0)[:, None], axis=1)[:, 0], 0.0)
