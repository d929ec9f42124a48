"""Where carriers spend their time: by atom, by distance from defects, by layer, and for how long at a stretch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.hops import HopTable
from leopold_model.analysis.rates import Rate, garwood
from leopold_model.analysis.sites import SiteMap

DIGITS = 2  # of a distance in Angstrom: ideal sites that agree to these are of one shell
LAYER = 0.3  # Angstrom between the heights of sites, from which they are of different layers


def occupancy(sites: np.ndarray, n_atoms: int) -> np.ndarray:
    """Fraction (n_atoms,) of the carrier time spent on each atom; `sites` (T, n_carriers) at every step."""
    if np.size(sites) == 0:
        raise AnalysisError("the track is empty (0 steps): no production step was recorded; run longer")
    return np.bincount(np.ravel(sites), minlength=n_atoms) / np.size(sites)


@dataclass(frozen=True)
class Shells:
    """Pairs of a carrier and a defect by distance (k,), Angstrom: `sites` (k,) pairs of an allowed site and a defect,
    `random` (k,) how many pairs one carrier would have if it were put on any allowed site, `found` (k,) how many it has
    on average, `error` (k,) the standard error of that over replicas (nan for a single one)."""

    distance: np.ndarray
    sites: np.ndarray
    random: np.ndarray
    found: np.ndarray
    error: np.ndarray

    @property
    def g(self) -> np.ndarray:
        """(k,) `found` over `random`: 1 where the carrier does not feel the defect."""
        return self.found / self.random

    @property
    def g_error(self) -> np.ndarray:
        return self.error / self.random


def pair_correlation(occupancies: np.ndarray, distances: np.ndarray, allowed: np.ndarray) -> Shells:
    """Carrier-defect pairs by distance, over those of random placement on the `allowed` atoms.

    `occupancies` (r, n) of every replica, `distances` (d, n) of n atoms from d defects. The density of a continuum
    would count places no carrier can take, most of all near the defect; the allowed sites are the right zero. The last
    shells, beyond half the cell, are cut by its shape, which the normalisation takes out.
    """
    occupancies, distances = np.atleast_2d(occupancies), np.atleast_2d(distances)
    if not distances.size:
        raise AnalysisError("no defect in the cell: a carrier-defect correlation needs an impurity or a vacancy")
    rounded = np.round(distances, DIGITS)
    levels = np.unique(rounded[:, allowed])
    # (k, n): how many defects each atom has at each distance
    at = np.array([(rounded == level).sum(axis=0) for level in levels])
    pairs = at[:, allowed].sum(axis=1)
    share = occupancies[:, allowed] / occupancies[:, allowed].sum(axis=1, keepdims=True)
    found = share @ at[:, allowed].T
    return Shells(levels, pairs, pairs / len(allowed), found.mean(axis=0), standard_error(found))


@dataclass(frozen=True)
class Layers:
    """Planes of carrier sites across one cell axis: `height` (l,) Angstrom along the normal, `sites` (l,) in each,
    `population` (l,) the fraction of carrier time in each, `error` (l,) its standard error over replicas."""

    height: np.ndarray
    sites: np.ndarray
    population: np.ndarray
    error: np.ndarray

    @property
    def random(self) -> np.ndarray:
        """(l,) what each would have if all sites were equal."""
        return self.sites / self.sites.sum()


def layers_of(sites: SiteMap, axis: int, tolerance: float = LAYER) -> tuple[np.ndarray, np.ndarray]:
    """Height (l,) of every layer of carrier sites across cell vector `axis`, Angstrom, and the layer (m,) of every
    carrier atom. Heights run from the lowest layer above the widest gap, so that a slab is in one piece."""
    cell = sites.matrix @ sites.lattice
    period = 1 / np.linalg.norm(np.linalg.inv(cell)[:, axis])
    height = (sites.positions[sites.carrier_atoms] @ np.linalg.inv(cell))[:, axis] % 1.0 * period
    order = np.argsort(height, kind="stable")
    steps = np.diff(height[order], append=height[order[0]] + period)
    new = steps > tolerance  # a layer ends after these
    if not new.any():
        return np.zeros(1), np.zeros(len(height), dtype=int)
    # of gaps as wide as each other the one across the boundary of the cell, which leaves the order as it is
    widest = int(np.flatnonzero(steps > steps.max() - tolerance)[-1])
    order, new = np.roll(order, -widest - 1), np.roll(new, -widest - 1)
    number = np.concatenate([[0], np.cumsum(new)[:-1]])
    layer = np.empty(len(height), dtype=int)
    layer[order] = number
    unfolded = (height - height[order[0]] + 0.5 * tolerance) % period
    found = np.array([unfolded[layer == k].mean() for k in range(number[-1] + 1)])
    return found - found[0], layer


def layer_populations(occupancies: np.ndarray, sites: SiteMap, axis: int) -> Layers:
    """Fraction of carrier time in every layer across cell vector `axis`; `occupancies` (r, n) of every replica."""
    share = np.atleast_2d(occupancies)[:, sites.carrier_atoms]
    share = share / share.sum(axis=1, keepdims=True)
    height, layer = layers_of(sites, axis)
    member = layer == np.arange(len(height))[:, None]
    found = share @ member.T
    return Layers(height, member.sum(axis=1), found.mean(axis=0), standard_error(found))


def leaving_rates(tables: Iterable[HopTable], group: Sequence[int]) -> dict[int, Rate]:
    """Rate at which carriers leave every group of atoms; its inverse is the mean residence time.

    `group` (n,) names the group of each atom (a shell around a defect, a layer, a row). Hops within a group do not end
    a residence. Time over departures is the maximum-likelihood estimate for residences that the beginning and the end
    of a run cut short; a group that was never left has the upper limit of its rate, one never visited is absent.
    """
    time: dict[int, float] = {}
    exits: dict[int, int] = {}
    for table in tables:
        for carrier, first in enumerate(table.first_sites):
            here, since = int(group[first]), 0.0
            for hop in (hop for hop in table.hops if hop.carrier == carrier):
                there = int(group[hop.j])
                if there != here:
                    time[here] = time.get(here, 0.0) + hop.time - since
                    exits[here] = exits.get(here, 0) + 1
                    here, since = there, hop.time
            time[here] = time.get(here, 0.0) + table.duration - since
    return {name: garwood(exits.get(name, 0), spent) for name, spent in sorted(time.items()) if spent > 0}


def standard_error(values: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis; nan where there is one value only."""
    n = len(values)
    return values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(values.shape[1:], np.nan)
