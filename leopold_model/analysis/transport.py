"""Diffusion and mobility tensors from hop rates, per temperature, with intervals.

Two routes, reported side by side. From rates: the rate of every class gives a random walk on the host lattice whose
diffusion tensor is exact (inequivalent sites and lattices without inversion at the sites included; in a cell with
defects, see `doped_walk`); its error is that of the counts. From the MSD of the same hops at short lags, which knows
the memory of the carrier; their ratio to the memoryless walk is the correlation factor. Diffusion is in Angstrom^2/fs
inside and in cm^2/s where a name says so; mobility, |q| D / (k_B T), in cm^2/(V s).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.catalogue import Catalogue, ReplicaHops
from leopold_model.analysis.defects import without_shells
from leopold_model.analysis.doped_walk import doped_replicas, shell_times, supercell_network
from leopold_model.analysis.msd import Estimate, MSDResult, Walk, short_lag_diffusion
from leopold_model.analysis.pathways import PathwaySet
from leopold_model.analysis.rates import Rate
from leopold_model.analysis.sites import SiteMap
from leopold_model.analysis.slabs import slab_of

BOLTZMANN = 8.617333262e-5  # eV/K
_ROUNDING = 1e-9
STILL = 1e-9  # of the largest eigenvalue of a tensor, below which it is rounding: nothing moves along that axis
CM2_PER_S = 0.1  # 1 Angstrom^2/fs in cm^2/s


@dataclass(frozen=True)
class Transport:
    """Transport at one temperature (K). `diffusion` (3, 3) Angstrom^2/fs from the rates, `mobility` (3, 3) cm^2/(V s)
    from it; `rates` per class; `dispersion` the variance of counts over that of a Poisson process (>= 1, widens the
    interval); `msd` the second route, or None with the reason in `msd_missing`; `n_hops` in `carrier_time` fs,
    `counts` what else was counted (`Catalogue.count_table`). In a slab `plane` (2, 3) are its Cartesian axes, and
    what is along the normal is left out of every tensor."""

    temperature: float
    n_hops: int
    carrier_time: float
    rates: dict[str, Rate]
    dispersion: float
    diffusion: Estimate
    msd: MSDResult | None
    msd_missing: str = ""
    counts: dict = field(default_factory=dict)
    plane: np.ndarray | None = None

    def mean(self, tensor: Estimate) -> Estimate:
        """Of the diagonal of a tensor: of three axes, in a slab of the two of its plane."""
        return tensor.isotropic if self.plane is None else tensor.isotropic.scaled(1.5)

    @property
    def mobility(self) -> Estimate:
        """(3, 3) cm^2/(V s) from the rates."""
        return mobility(self.diffusion, self.temperature)

    @property
    def mobility_msd(self) -> Estimate | None:
        """(3, 3) cm^2/(V s) from the MSD."""
        return None if self.msd is None else mobility(self.msd.diffusion, self.temperature)

    def to_dict(self) -> dict:
        """JSON-ready; every estimate has value, low and high (95 %)."""
        found = {
            "temperature_K": self.temperature,
            "n_hops": self.n_hops,
            "carrier_time_fs": self.carrier_time,
            "counts": self.counts,
            "rates": {name: rate.to_dict() for name, rate in self.rates.items()},
            "dispersion": self.dispersion,
            "diffusion_cm2_per_s": self.diffusion.scaled(CM2_PER_S).to_dict(),
            "diffusion_isotropic_cm2_per_s": self.mean(self.diffusion).scaled(CM2_PER_S).to_dict(),
            "mobility_cm2_per_Vs": self.mobility.to_dict(),
            "mobility_isotropic_cm2_per_Vs": self.mean(self.mobility).to_dict(),
            "principal": principal(self.diffusion.scaled(CM2_PER_S), self.plane),
            "msd": self.msd_missing,
        }
        if self.plane is not None:
            found["in_plane"] = {
                "axes": self.plane.tolist(),
                "diffusion_cm2_per_s": seen_along(self.diffusion.scaled(CM2_PER_S), self.plane).to_dict(),
                "mobility_cm2_per_Vs": seen_along(self.mobility, self.plane).to_dict(),
            }
        if self.msd is not None and self.mobility_msd is not None:
            found["msd"] = {
                "diffusion_cm2_per_s": self.msd.diffusion.scaled(CM2_PER_S).to_dict(),
                "diffusion_isotropic_cm2_per_s": self.mean(self.msd.diffusion).scaled(CM2_PER_S).to_dict(),
                "mobility_cm2_per_Vs": self.mobility_msd.to_dict(),
                "mobility_isotropic_cm2_per_Vs": self.mean(self.mobility_msd).to_dict(),
                "principal": principal(self.msd.diffusion.scaled(CM2_PER_S), self.plane),
                "correlation_factor": self.msd.correlation.to_dict(),
                "lags_fs": [self.msd.first_lag, self.msd.last_lag],
                "plateau": self.msd.plateau,
                "n_units": self.msd.n_units,
                "curve": {
                    "lag_fs": self.msd.lags.tolist(),
                    "diffusion_cm2_per_s": (self.msd.curve * CM2_PER_S).tolist(),
                    "error_cm2_per_s": (self.msd.curve_error * CM2_PER_S).tolist(),
                },
            }
        return found


def transport(catalogue: Catalogue, temperature: float, *, seed: int = 0, n_samples: int = 1000) -> Transport:
    """Rates, diffusion and mobility of the runs at one temperature.

    The error of the rate route draws every class's rate from its gamma distribution (Poisson counts), widened by the
    dispersion of the counts over replicas and blocks; that of the MSD route comes from replicas and blocks. Without
    hops, or where defects held every carrier, the diffusion is zero and its interval an upper limit: that of a perfect
    crystal in which the shortest hop was not seen in all this time. Samples of different temperatures are independent.
    """
    # one seed for all temperatures would draw the same deviations everywhere, and an activation energy without error
    seed = int(np.random.SeedSequence([seed, round(1e3 * temperature)]).generate_state(1)[0])
    rates = catalogue.rates(temperature)
    time = catalogue.carrier_time(temperature)
    dispersion = _dispersion(catalogue, temperature)
    rng = np.random.default_rng(seed)
    if doped := doped_replicas(catalogue, temperature):
        counts, times, networks = _doped_walk(catalogue, temperature, doped)
    else:
        counts, times, networks = _pristine_walk(catalogue, temperature)
    value = _mean_diffusion(networks, (counts / times)[None])[0]
    if not value.any():  # no hops, or only such as lead around a defect and back: the one that leads on is to come
        counts, times, networks = _first_hop(catalogue, time)
    # a rate given its count is gamma distributed (Jeffreys' half added to a seen count); its variance is widened
    shape = np.where(counts > 0, counts + 0.5, 1.0) / dispersion
    drawn = rng.gamma(shape, dispersion / times, size=(n_samples, len(counts)))
    samples = _mean_diffusion(networks, drawn)
    found, missing = None, ""
    try:
        found = short_lag_diffusion(
            walks(catalogue, temperature),
            memory=catalogue.return_time,
            seed=seed,
            n_samples=n_samples,
            point_group=catalogue.host.point_group,
        )
    except AnalysisError as error:
        missing = str(error)
    slab, diffusion = slab_of(catalogue.host), Estimate(value, samples)
    if slab is not None:
        flat = slab.plane.T @ slab.plane
        diffusion = seen_along(diffusion, flat)
        found = None if found is None else replace(found, diffusion=seen_along(found.diffusion, flat))
    return Transport(
        temperature=temperature,
        n_hops=catalogue.hops_at(temperature),
        carrier_time=time,
        rates=rates,
        dispersion=dispersion,
        diffusion=diffusion,
        msd=found,
        msd_missing=missing,
        counts=catalogue.count_table(temperature),
        plane=None if slab is None else slab.plane,
    )


Network = tuple[tuple[np.ndarray, ...], int]  # see `_network`, and the number of sites


def _pristine_walk(catalogue: Catalogue, temperature: float) -> tuple[np.ndarray, np.ndarray, list[Network]]:
    """Hops (j,) and the time (j,) they were seen in, of every jump, and the network of the primitive cell."""
    classes, time = catalogue.classes, catalogue.carrier_time(temperature)
    jumps = {key: jump for key, jump in jump_rates(catalogue, temperature).items() if jump[0]}
    if not jumps:
        return _first_hop(catalogue, time)
    counts, times = np.array(list(jumps.values()), dtype=float).T
    return counts, times, [(_network(classes, list(jumps)), len(classes.site_kinds))]


def _first_hop(catalogue: Catalogue, time: float) -> tuple[np.ndarray, np.ndarray, list[Network]]:
    """The same of what the shortest class could still do, unseen in `time` fs."""
    shortest = catalogue.classes.pathways[0]
    jumps = [(shortest.name, kind) for kind in sorted(set(shortest.ends))]
    network = _network(catalogue.classes, jumps), len(catalogue.classes.site_kinds)
    return np.zeros(len(jumps)), np.full(len(jumps), time), [network]


def _doped_walk(
    catalogue: Catalogue, temperature: float, doped: Sequence[tuple[ReplicaHops, SiteMap]]
) -> tuple[np.ndarray, np.ndarray, list[Network]]:
    """The same with the networks of the supercells of all replicas, each arrangement of defects once for all its
    replicas; without hops, as in the perfect crystal."""
    found = {name: n for name, n in catalogue.counts(temperature).items() if n}
    if not found:
        return _first_hop(catalogue, catalogue.carrier_time(temperature))
    shell_time = shell_times(catalogue, temperature)
    networks: dict[tuple, Network] = {}
    for r, sites in doped:
        if r.arrangement not in networks:
            network = supercell_network(catalogue.classes, sites, list(found), shell_time)
            networks[r.arrangement] = (network, len(sites.carrier_atoms))
    counts = np.array(list(found.values()), dtype=float)
    times = np.full(len(counts), catalogue.carrier_time(temperature))
    return counts, times, [networks[r.arrangement] for r, _ in doped]


def walks(catalogue: Catalogue, temperature: float) -> list[Walk]:
    """One walk per carrier and replica at a temperature."""
    found = []
    for r in catalogue.replicas:
        if r.temperature != temperature:
            continue
        for carrier in range(r.n_carriers):
            hops = [hop for hop in r.table.hops if hop.carrier == carrier]
            times = np.array([hop.time for hop in hops])
            found.append(Walk(times, np.array([hop.vector for hop in hops]).reshape(-1, 3), r.table.duration))
    return found


Jump = tuple[str, int]  # class name and the kind of site the hop starts from


def jump_rates(catalogue: Catalogue, temperature: float) -> dict[Jump, tuple[int, float]]:
    """Hops of each class from each kind of site and the carrier time (fs) spent on sites of that kind."""
    classes = catalogue.classes
    kinds = set(classes.site_kinds.values())
    total = catalogue.carrier_time(temperature)
    counts: dict[Jump, int] = {(p.name, kind): 0 for p in classes for kind in set(p.ends)}
    spent: dict[int, float] = defaultdict(float)
    for r in catalogue.replicas:
        if r.temperature != temperature:
            continue
        for carrier in range(r.n_carriers):
            last_time, kind = 0.0, None
            for hop in (h for h in r.table.hops if h.carrier == carrier):
                for leg, name in zip(hop.legs, hop.pathway.split(" + "), strict=True):
                    counts[without_shells(name), classes.site_kinds[leg[0]]] += 1
                kind = classes.site_kinds[hop.legs[0][0]]
                spent[kind] += hop.time - last_time
                last_time, kind = hop.time, classes.site_kinds[hop.legs[-1][1]]
            if kind is not None:
                spent[kind] += r.table.duration - last_time
    if len(kinds) == 1:
        return {key: (n, total) for key, n in counts.items()}
    # kinds never visited: their rates cannot matter, any time does
    return {(name, kind): (n, spent[kind] or total) for (name, kind), n in counts.items()}


def diffusion_from_rates(classes: PathwaySet, rates: dict[Jump, float]) -> np.ndarray:
    """Exact diffusion tensor (3, 3), Angstrom^2/fs, of the random walk with these total rates (1/fs) per class and
    start.

    With the stationary occupation p of the primitive cell's sites and the corrector chi that makes x + chi(site) a
    martingale (L chi = -drift), D = 1/2 sum_s p_s sum_hops w (d + chi_end - chi_start) (x) (same). For equivalent
    sites with inversion chi vanishes and D = 1/2 sum_c Gamma_c <d d^T>.
    """
    return _diffusion(_network(classes, list(rates)), np.array([list(rates.values())]), len(classes.site_kinds))[0]


def _network(classes: PathwaySet, jumps: Sequence[Jump]) -> tuple[np.ndarray, ...]:
    """Every hop of the primitive cell with one of these jumps: its jump (h,), start and end site (h,), vector (h, 3)
    and share (h,) of the jump's total rate."""
    index = {s: n for n, s in enumerate(sorted(classes.site_kinds))}
    n_sites = Counter(classes.site_kinds.values())
    rows = []
    for number, (name, kind) in enumerate(jumps):
        pathway = classes.by_name[name]
        starting = [n for n, key in enumerate(pathway.members) if classes.site_kinds[key[0]] == kind]
        for n in starting:
            a, b = pathway.members[n][:2]
            rows.append((number, index[a], index[b], *pathway.vectors[n], n_sites[kind] / len(starting)))
    table = np.array(rows).reshape(-1, 7)
    return table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2].astype(int), table[:, 3:6], table[:, 6]


def _mean_diffusion(networks: Sequence[Network], rates: np.ndarray) -> np.ndarray:
    """Diffusion tensors (b, 3, 3) of b sets of rates (b, jumps), the mean over replicas."""
    return np.mean([_diffusion(network, rates, n_sites) for network, n_sites in networks], axis=0)


def _diffusion(network: tuple[np.ndarray, ...], rates: np.ndarray, n_sites: int) -> np.ndarray:
    """Diffusion tensors (b, 3, 3) of b sets of rates (b, jumps)."""
    jump, start, end, vectors, share = network
    w = rates[:, jump] * share
    sites = np.arange(n_sites)
    leaving, entering = (start[:, None] == sites).astype(float), (end[:, None] == sites).astype(float)
    unit = w.max(axis=1, initial=1e-300)[:, None, None]  # so that singular values are of order one
    generator = np.einsum("bh,hs,ht->bst", w, leaving, entering - leaving) / unit
    drift = np.einsum("bh,hs,ha->bsa", w, leaving, vectors) / unit
    step = vectors - (entering - leaving) @ (np.linalg.pinv(generator) @ drift)
    # hops that lead nowhere take back one another's steps up to rounding, of which this is the square
    step = np.where(np.abs(step) > _ROUNDING * np.abs(vectors).max(initial=0.0), step, 0.0)
    return 0.5 * np.einsum("bh,bha,bhc->bac", _stationary(generator) @ leaving.T * w, step, step)


def _stationary(generator: np.ndarray) -> np.ndarray:
    """Stationary occupations (b, s) of rate matrices (b, s, s) with rows summing to zero; the most even ones if there
    are several."""
    ones = np.ones((len(generator), 1, generator.shape[-1]))
    p = np.linalg.pinv(np.concatenate([generator.transpose(0, 2, 1), ones], axis=1))[..., -1].clip(0)
    return p / p.sum(axis=1, keepdims=True)


def _dispersion(catalogue: Catalogue, temperature: float) -> float:
    """Variance over mean of hop counts in pieces of equal expectation, at least 1; 1 when too few hops to tell."""
    pieces = []
    found = walks(catalogue, temperature)
    n_hops = sum(len(w.times) for w in found)
    per_walk = max(1, min(16 // len(found), n_hops // (5 * len(found))))
    for walk in found:
        pieces += [(len(block.times), block.duration) for block in walk.blocks(per_walk)]
    counts, times = np.array(pieces, dtype=float).T
    if len(pieces) < 4 or n_hops < 20:
        return 1.0
    expected = n_hops * times / times.sum()
    return max(1.0, float(np.sum((counts - expected) ** 2 / expected) / (len(pieces) - 1)))


# ----------------------------------------------------------------------------------------- derived quantities


def mobility(diffusion: Estimate, temperature: float) -> Estimate:
    """|q| D / (k_B T), cm^2/(V s), of a single charge; `diffusion` in Angstrom^2/fs, `temperature` in K."""
    return diffusion.scaled(CM2_PER_S / (BOLTZMANN * temperature))


def seen_along(tensor: Estimate, axes: np.ndarray) -> Estimate:
    """A tensor in the Cartesian `axes` (k, 3), (k, k); with a projector (3, 3), what of it lies in its plane."""
    return Estimate(axes @ tensor.value @ axes.T, axes @ tensor.samples @ axes.T)


def principal(tensor: Estimate, plane: np.ndarray | None = None) -> dict:
    """Eigenvalues of a symmetric tensor, descending, with their 95 % intervals (`low`, `high`) along the axes (rows) of
    the value, of a slab those in its `plane` (2, 3); the ratio of largest to smallest with its interval, None where
    nothing moves along the last axis."""
    tensor = tensor if plane is None else seen_along(tensor, plane)
    values, axes = np.linalg.eigh((tensor.value + tensor.value.T) / 2)
    values, axes = values[::-1], axes.T[::-1]
    along_axes = Estimate(values, np.einsum("ka,nab,kb->nk", axes, tensor.samples, axes))
    found = along_axes.to_dict() | {
        "axes": (axes if plane is None else axes @ plane).tolist(),
        "anisotropy": None,
        "anisotropy_interval": None,
    }
    if values[-1] > STILL * values[0]:
        first, last = along_axes.samples[:, 0], np.maximum(along_axes.samples[:, -1], 1e-300)
        low, high = np.quantile(first / last, (0.025, 0.975))
        found |= {"anisotropy": float(values[0] / values[-1]), "anisotropy_interval": [float(low), float(high)]}
    return {"values": found.pop("value"), **found}


def along(tensor: np.ndarray, directions: Sequence[Sequence[float]]) -> np.ndarray:
    """n^T D n for each Cartesian direction (k, 3), for polar plots; (k,)."""
    n = np.asarray(directions, dtype=float)
    n = n / np.linalg.norm(n, axis=1, keepdims=True)
    return np.einsum("ka,ab,kb->k", n, tensor, n)
