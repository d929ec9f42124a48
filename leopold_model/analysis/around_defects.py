"""How carriers arrange themselves around defects: correlation, populations, binding, residence, from the hops of a
catalogue.

All shares are of carrier time on the sites that hops committed to, and are compared with random placement on the
allowed sites of the same cells. Binding is a free energy: k_B T times the logarithm of how much rarer a carrier is on a
site far from every defect than on one of the shell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leopold_model.analysis.catalogue import Catalogue, ReplicaHops
from leopold_model.analysis.defects import SHELLS, defect_distances, defect_shells
from leopold_model.analysis.doped_walk import doped_replicas, stays
from leopold_model.analysis.populations import DIGITS, leaving_rates, standard_error
from leopold_model.analysis.rates import PER_PS, Rate, garwood
from leopold_model.analysis.sites import Host, SiteMap

BOLTZMANN = 8.617333262e-5  # eV/K
NAMES = (*(str(k) for k in range(SHELLS + 1)), "far")


@dataclass(frozen=True)
class Groups:
    """Carrier time by group of allowed sites: `label` (k,), mean number of `sites` per cell (k,), `share` (r, k) of the
    time of every replica, `random` (k,) the share of random placement."""

    label: np.ndarray
    sites: np.ndarray
    share: np.ndarray
    random: np.ndarray

    def to_dict(self) -> dict:
        """JSON-ready; `error` is the standard error over replicas, None for a single one."""
        population, error = self.share.mean(axis=0), standard_error(self.share)
        return {
            "sites": self.sites.tolist(),
            "population": population.tolist(),
            "error": _plain(error),
            "random": self.random.tolist(),
            "g": (population / self.random).tolist(),
            "g_error": _plain(error / self.random),
        }


def around_defects(
    catalogue: Catalogue,
    temperature: float,
    *,
    rows: Sequence[int] | None = None,
    planes: Sequence[int] | None = None,
) -> dict | None:
    """JSON-ready; None without defects. Everything by the nearest defect.

    `shells`: populations, `binding_eV` of a site of the shell against a far one (positive where it is preferred) with
    its `binding_error_eV`, residence times. `distances`: populations by exact distance, `g` the correlation. `rows`
    along [uvw] and `planes` (hkl), in conventional axes, where asked for: populations by the distance of the row, or of
    the plane, from that of the defect.
    """
    replicas = doped_replicas(catalogue, temperature)
    if not replicas:
        return None
    axes = conventional_axes(catalogue.host)
    by_shell = _groups(replicas, [defect_shells(sites) for _, sites in replicas])
    found = {
        "temperature_K": temperature,
        "shells": {
            "shell": [NAMES[k] for k in by_shell.label],
            **by_shell.to_dict(),
            **_binding(by_shell, temperature),
            "residence": _residence(replicas),
        },
        "distances": _by_distance(replicas, {}),
    }
    if rows is not None:
        found["rows"] = {"direction": list(rows), **_by_distance(replicas, {"along": np.array(rows) @ axes})}
    if planes is not None:
        normal = np.linalg.inv(axes) @ np.array(planes)
        found["planes"] = {"indices": list(planes), **_by_distance(replicas, {"across": normal})}
    return found


def binding(near: np.ndarray, far: np.ndarray, sites: tuple[float, float], temperature: float) -> tuple:
    """k_B T ln of the time per site near over that far, eV, and its standard error over replicas: (value, error).

    `near` and `far` (r,) are shares of time, `sites` how many there are. None where a carrier was never in one of them;
    the error is None for one replica. The error is that of the logarithm of a ratio of means.
    """
    if not near.mean() or not far.mean():
        return None, None
    value = BOLTZMANN * temperature * np.log(near.mean() / sites[0] * sites[1] / far.mean())
    if len(near) < 2:
        return float(value), None
    relative = near / near.mean() - far / far.mean()
    return float(value), float(BOLTZMANN * temperature * relative.std(ddof=1) / np.sqrt(len(near)))


def conventional_axes(host: Host) -> np.ndarray:
    """Conventional lattice vectors (3, 3) in rows, Angstrom."""
    return np.linalg.inv(host.conventional).T @ host.lattice


def time_share(replica: ReplicaHops, n_atoms: int) -> np.ndarray:
    """Fraction (n_atoms,) of the carrier time on each atom."""
    found = np.zeros(n_atoms)
    for stay in stays(replica):
        found[stay.atom] += stay.time
    return found / found.sum()


def _groups(replicas: Sequence[tuple[ReplicaHops, SiteMap]], labels: Sequence[np.ndarray]) -> Groups:
    """Carrier time by the label (n,) that each replica's atoms have."""
    allowed = [sites.carrier_atoms for _, sites in replicas]
    every = np.unique(np.concatenate([label[atoms] for label, atoms in zip(labels, allowed, strict=True)]))
    share, sites = np.zeros((len(replicas), len(every))), np.zeros((len(replicas), len(every)))
    for k, (replica, where) in enumerate(replicas):
        member = labels[k][allowed[k]][:, None] == every
        share[k] = time_share(replica, len(where.sublattice))[allowed[k]] @ member
        sites[k] = member.sum(axis=0)
    return Groups(every, sites.mean(axis=0), share, (sites / sites.sum(axis=1, keepdims=True)).mean(axis=0))


def _by_distance(replicas, part: dict) -> dict:
    distances = [np.round(defect_distances(sites, **part).min(axis=0), DIGITS) for _, sites in replicas]
    found = _groups(replicas, distances)
    return {"distance_Angstrom": found.label.tolist(), **found.to_dict()}


def _binding(groups: Groups, temperature: float) -> dict:
    far = int(np.flatnonzero(groups.label == SHELLS + 1)[0]) if SHELLS + 1 in groups.label else None
    pairs = [
        (None, None)
        if far is None
        else binding(groups.share[:, k], groups.share[:, far], (groups.sites[k], groups.sites[far]), temperature)
        for k in range(len(groups.label))
    ]
    return {"binding_eV": [value for value, _ in pairs], "binding_error_eV": [error for _, error in pairs]}


def _residence(replicas) -> dict:
    """Mean time (ps) a carrier stays in a shell, 95 % interval; where it never left, only the lower limit."""
    departures: dict[int, tuple[int, float]] = {}
    for replica, sites in replicas:
        for shell, rate in leaving_rates([replica.table], defect_shells(sites).tolist()).items():
            n, time = departures.get(shell, (0, 0.0))
            departures[shell] = (n + rate.count, time + rate.time)
    rates: dict[int, Rate] = {shell: garwood(n, time) for shell, (n, time) in sorted(departures.items())}
    return {
        "shell": [NAMES[shell] for shell in rates],
        "time_ps": [1 / (r.rate * PER_PS) if r.count else None for r in rates.values()],
        "low_ps": [1 / (r.high * PER_PS) for r in rates.values()],
        "high_ps": [1 / (r.low * PER_PS) if r.count else None for r in rates.values()],
    }


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
