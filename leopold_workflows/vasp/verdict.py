"""Where a carrier sits, read from the moments of one step, and whether that is where it was asked to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from aiida import orm
from ase import Atoms
from ase.data import atomic_numbers

from leopold_model.frames import ONE_CARRIER, Frame, carrier_sites, resolved
from leopold_workflows.vasp.bonds import bond_changes

# sites one carrier may be spread over and still be called a small polaron: two share it at a crossing, and the
# neighbours take a little; a delocalised carrier has as many as the sublattice
MAX_PARTICIPATION = 3.0
# exit status of a WorkChain that ends with a verdict, by outcome; a verified carrier is 0
MISSES = {
    "delocalised": 501, "moved": 502, "not_converged": 504, "other_spin": 505, "wrong_orbital": 506, "merged": 507,
}  # fmt: skip
# a carrier is in the orbital asked for if that has at least so much of the moment of the one that has most
MIN_ORBITAL_SHARE = 0.5


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
        501,
        "ERROR_POLARON_DELOCALISED",
        message="released, the carrier spread over {participation:.1f} sites: moment {moment:.2f}, {gap:.2f} above the "
        "next site",
    )
    spec.exit_code(
        502, "ERROR_POLARON_ON_OTHER_SITE", message="asked for sites {requested}, the carrier went to {sites}"
    )
    spec.exit_code(
        507,
        "ERROR_CARRIERS_MERGED",
        message="asked for sites {requested}, two carriers went onto one site: of {sites} one has {moment:.2f} mu_B",
    )


@dataclass(frozen=True)
class Verdict:
    """Outcome of one step, with the numbers behind it; energy is not among them.

    `sites` are the atoms with the largest moments, `moment` the smallest of theirs (mu_B), `gap` what it has ahead of
    the largest moment elsewhere, `participation` the number of sites one carrier is spread over,
    (sum m)^2 / (n sum m^2) with m the positive moments of the carrier's species. `orbital_share` is that of
    `leopold_model.vasp.occmatrix.orbital_share`, the smallest over the carriers; None where no orbital was asked for or
    none was printed.
    """

    outcome: str
    sites: tuple[int, ...]
    requested: tuple[int, ...]
    moment: float
    gap: float
    participation: float
    orbital_share: float | None

    def as_dict(self) -> dict:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class ReleasedVerdict(Verdict):
    """That of a relaxed polaron: also `cell_moment` (mu_B, of the whole cell) and `bonds`, for each carrier site the
    lengths to its nearest neighbours in the host and now (Angstrom, ascending) and their mean relative change."""

    cell_moment: float | None
    bonds: tuple[dict, ...]


def participation(frame: Frame, species: Sequence[str], n: int) -> float:
    """Sites one of the `n` carriers is spread over, counting only atoms of `species`; infinite without any moment."""
    if frame.moments is None:
        raise ValueError("frame without moments: the run needs ISPIN = 2 and LORBIT >= 10")
    eligible = np.isin(frame.numbers, [atomic_numbers[s] for s in species])
    return sites_per_carrier(frame.moments[eligible], n)


def sites_per_carrier(moments: np.ndarray, n: int) -> float:
    """(sum m)^2 / (n sum m^2) over the positive `moments`; infinite where there is none."""
    moments = np.clip(moments, 0.0, None)
    squares = float(np.sum(moments**2))
    return float("inf") if squares == 0.0 else float(np.sum(moments)) ** 2 / squares / n


def judge(
    frame: Frame,
    requested: Sequence[int],
    species: Sequence[str],
    max_participation: float = MAX_PARTICIPATION,
    orbital_share: float | None = None,
) -> Verdict:
    """Hold the moments of `frame` against the `requested` carrier sites (ascending or not).

    Outcomes: `not_converged`, `delocalised` (of several carriers, also when one has no site), `merged` (because two are
    on one), `moved`, `wrong_orbital`, `verified`.
    """
    n = len(requested)
    sites = carrier_sites(frame.moments, n)
    largest = np.sort(frame.moments)[::-1]
    spread = min(participation(frame, species, n), float(len(frame)))  # infinite where there is no moment at all
    if not frame.converged:
        outcome = "not_converged"
    elif not resolved(largest, n):
        outcome = "merged" if largest[0] > ONE_CARRIER else "delocalised"
    elif spread > max_participation:
        outcome = "delocalised"
    elif sites != tuple(sorted(requested)):
        outcome = "moved"
    else:
        wrong = orbital_share is not None and orbital_share < MIN_ORBITAL_SHARE
        outcome = "wrong_orbital" if wrong else "verified"
    moment = float(min(frame.moments[list(sites)]))
    elsewhere = np.delete(frame.moments, list(sites))
    gap = moment - float(elsewhere.max(initial=0.0))
    return Verdict(outcome, sites, tuple(sorted(requested)), moment, gap, spread, orbital_share)


def judge_released(
    frame: Frame,
    host: Atoms,
    cell_moment: float | None,
    requested: Sequence[int],
    species: Sequence[str],
    max_participation: float = MAX_PARTICIPATION,
) -> ReleasedVerdict:
    """Hold the last `frame` of a released relaxation of `host` against the request, stricter than `judge`.

    A frame of dynamics may be a crossing, where two sites share the carrier; a relaxed polaron is `delocalised` when
    another site has more than half of its moment. `other_spin`: the cell's moment is not that of the carriers alone.
    How bonds changed is told and not judged, for it depends on the crystal.
    """
    found = judge(frame, requested, species, max_participation)
    outcome = found.outcome
    if outcome in ("moved", "verified"):
        if found.gap < 0.5 * found.moment:
            outcome = "delocalised"
        elif cell_moment is not None and abs(cell_moment - len(requested)) > 0.5:
            outcome = "other_spin"
    atoms = frame.to_atoms()
    bonds = tuple(bond_changes(host, atoms, site) for site in found.sites)
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    return ReleasedVerdict(**values | {"outcome": outcome, "cell_moment": cell_moment, "bonds": bonds})


def shortest(vectors: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Small displacements (n, 3) without the lattice vectors that folding atoms back into the cell added to them."""
    fractional = np.linalg.solve(cell.T, vectors.T).T
    return (fractional - np.round(fractional)) @ cell
