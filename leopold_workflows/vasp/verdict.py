"""Where a carrier sits, read from the moments of one step, and whether that is where it was asked to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from aiida import orm
from ase.data import atomic_numbers

from leopold_model.frames import Frame, carrier_sites

# sites one carrier may be spread over and still be called a small polaron: two share it at a crossing, and the
# neighbours take a little; a delocalised carrier has as many as the sublattice
MAX_PARTICIPATION = 3.0
# exit status of a WorkChain that ends with a verdict, by outcome; a verified carrier is 0
MISSES = {"delocalised": 501, "moved": 502, "not_converged": 504}


def expose(spec) -> None:
    """Add to the spec of a WorkChain that judges a released carrier the limit it judges by and the ways to miss.

    504, that the judged step itself did not converge, is worded by the WorkChain.
    """
    spec.input(
        "max_participation",
        valid_type=orm.Float,
        default=lambda: orm.Float(MAX_PARTICIPATION),
        help="Sites one carrier may be spread over before it counts as delocalised.",
    )
    spec.exit_code(
        501, "ERROR_POLARON_DELOCALISED", message="released, the carrier spread over {participation:.1f} sites"
    )
    spec.exit_code(
        502, "ERROR_POLARON_ON_OTHER_SITE", message="asked for sites {requested}, the carrier went to {sites}"
    )


@dataclass(frozen=True)
class Verdict:
    """Outcome of one step: `verified`, `moved`, `delocalised` or `not_converged`, with the numbers behind it.

    `sites` are the atoms with the largest moments, `moment` the smallest of theirs (mu_B), `participation`
    the number of sites one carrier is spread over, (sum m)^2 / (n sum m^2) with m the positive moments of the
    carrier's species.
    """

    outcome: str
    sites: tuple[int, ...]
    requested: tuple[int, ...]
    moment: float
    participation: float
    energy: float

    def as_dict(self) -> dict:
        return asdict(self) | {"sites": list(self.sites), "requested": list(self.requested)}


def participation(frame: Frame, species: Sequence[str], n: int) -> float:
    """Sites one of the `n` carriers is spread over, counting only atoms of `species`; infinite without any moment."""
    if frame.moments is None:
        raise ValueError("frame without moments: the run needs ISPIN = 2 and LORBIT >= 10")
    eligible = np.isin(frame.numbers, [atomic_numbers[s] for s in species])
    moments = np.clip(frame.moments[eligible], 0.0, None)
    squares = float(np.sum(moments**2))
    return float("inf") if squares == 0.0 else float(np.sum(moments)) ** 2 / squares / n


def judge(
    frame: Frame, requested: Sequence[int], species: Sequence[str], max_participation: float = MAX_PARTICIPATION
) -> Verdict:
    """Hold the moments of `frame` against the `requested` carrier sites (ascending or not)."""
    n = len(requested)
    sites = carrier_sites(frame.moments, n)
    spread = participation(frame, species, n)
    if not frame.converged:
        outcome = "not_converged"
    elif spread > max_participation:
        outcome = "delocalised"
    else:
        outcome = "verified" if sites == tuple(sorted(requested)) else "moved"
    moment = float(min(frame.moments[list(sites)]))
    return Verdict(outcome, sites, tuple(sorted(requested)), moment, spread, frame.energy)


def shortest(vectors: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Small displacements (n, 3) without the lattice vectors that folding atoms back into the cell added to them."""
    fractional = np.linalg.solve(cell.T, vectors.T).T
    return (fractional - np.round(fractional)) @ cell
