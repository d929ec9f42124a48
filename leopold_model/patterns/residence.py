"""Where the carriers of dynamics were, against where the lattice says they are.

Around defects that stay, dynamics and lattice are two ways to the same probability: the share of time that carriers
spend on the sites of a kind, and its Boltzmann weight at the temperature of the dynamics. Sites that the symmetry of
the defects makes equivalent are one kind. The lattice has energies of relaxed structures, dynamics free energies, so a
deviation of -kT ln(p_dynamics / p_lattice) of some ten meV is vibrations; a larger one is a model that is wrong, or a
run too short to have left where it began.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from ase import Atoms
from ase.units import kB

from leopold_model.analysis.populations import standard_error
from leopold_model.patterns import PatternError
from leopold_model.patterns.network import PatternModel
from leopold_model.patterns.sampling import Sampler
from leopold_model.patterns.structures import from_structure
from leopold_model.patterns.supercell import Supercell
from leopold_model.tracks import ReplicaTrack, TrackFile

SAME_TEMPERATURE = 0.05  # relative: replicas whose target (or mean) differs by less are of one temperature
SAMPLES = 500  # per chain


@dataclass(frozen=True)
class Residence:
    """For each kind of site (g,), the most populated first: `labels`, number of `sites`, and the share of all carriers
    on them in `dynamics` and on the `lattice`, with standard errors over replicas and over chains (nan for one).
    `elsewhere` is the share of time on atoms that are no site of the lattice; `temperature` in K."""

    temperature: float
    labels: tuple[str, ...]
    sites: np.ndarray
    dynamics: np.ndarray
    dynamics_errors: np.ndarray
    lattice: np.ndarray
    lattice_errors: np.ndarray
    elsewhere: float
    replicas: int

    @property
    def deviations(self) -> np.ndarray:
        """(g,) eV, -kT ln(p_dynamics / p_lattice); infinite where one of them was never there."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return -kB * self.temperature * np.log(self.dynamics / self.lattice)

    def to_dict(self) -> dict:
        """JSON-ready; what is not finite as None."""
        found = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self).items()}
        found["deviations_eV"] = self.deviations.tolist()
        for key in ("dynamics_errors", "lattice_errors", "deviations_eV"):
            found[key] = [v if np.isfinite(v) else None for v in found[key]]
        return found | {"labels": list(self.labels)}


def residence(
    model: PatternModel,
    supercell: Supercell,
    track: TrackFile,
    *,
    temperature: float | None = None,
    chains: int = 8,
    moves: int = 100_000,
    seed: int = 0,
) -> Residence:
    """Dynamics of one pattern of defects, in any of its images, beside `chains` chains of `moves` moves each in which
    only the carriers move. Of dynamics at several temperatures, the replicas at `temperature` (K)."""
    replicas, kelvin = _at(track, temperature)
    kinds: dict[str, int] = {}  # key of the defects with one carrier on a site -> kind of site
    labels: list[str] = []
    shares, defects = [], None
    for replica in replicas:
        own, atom_of_site = from_structure(supercell, Atoms(track.numbers, replica.positions, cell=replica.cell), ())
        defects = own if defects is None else defects
        if supercell.key(own) != supercell.key(defects):
            raise PatternError(
                f"replica {replica.replica} has another arrangement of defects than replica {replicas[0].replica}: "
                "give the tracks of one arrangement at a time"
            )
        kind_of_site = _kinds(supercell, own, kinds, labels)
        site_of_atom = np.full(len(track.numbers), -1)
        site_of_atom[atom_of_site[atom_of_site >= 0]] = np.flatnonzero(atom_of_site >= 0)
        site = site_of_atom[replica.carrier]
        kind = np.where(site >= 0, kind_of_site[site], -1)
        shares.append(np.bincount(kind.ravel() + 1, minlength=len(labels) + 1) / kind.size)
    assert defects is not None
    kind_of_site = _kinds(supercell, defects, kinds, labels)
    weights = _weights(model, supercell, defects, track.n_carriers, kelvin, chains, moves, seed)
    lattice = np.array([np.bincount(kind_of_site + 1, weights=w, minlength=len(labels) + 1)[1:] for w in weights])
    found = np.array(shares)
    order = np.argsort(-lattice.mean(axis=0), kind="stable")
    return Residence(
        temperature=kelvin,
        labels=tuple(labels[k] for k in order),
        sites=np.bincount(kind_of_site[kind_of_site >= 0], minlength=len(labels))[order],
        dynamics=found[:, 1:].mean(axis=0)[order],
        dynamics_errors=standard_error(found[:, 1:])[order],
        lattice=lattice.mean(axis=0)[order],
        lattice_errors=standard_error(lattice)[order],
        elsewhere=float(found[:, 0].mean()),
        replicas=len(replicas),
    )


def _at(track: TrackFile, temperature: float | None) -> tuple[list[ReplicaTrack], float]:
    """The replicas of one temperature, and what it is (K)."""
    given = [r for r in track.replicas if len(r)]
    known = ", ".join(f"{r.temperature:g}" for r in given)
    if temperature is not None:
        given = [r for r in given if abs(r.temperature / temperature - 1) < SAME_TEMPERATURE]
        if not given:
            raise PatternError(f"temperature = {temperature:g} K: the replicas are at {known or 'none'}")
        return given, temperature
    if not given:
        raise PatternError("the track is empty (0 steps): no step of dynamics was recorded; run longer")
    mean = float(np.mean([r.temperature for r in given]))
    if any(abs(r.temperature / mean - 1) > SAME_TEMPERATURE for r in given):
        raise PatternError(f"replicas at {known} K: give the `temperature` to compare at")
    return given, mean


def _kinds(supercell: Supercell, defects: np.ndarray, kinds: dict[str, int], labels: list[str]) -> np.ndarray:
    """(n_sites,) kind of each free site that may hold a carrier, -1 for the others; new ones are added to `kinds`."""
    code = _carrier(supercell)
    found = np.full(supercell.n_sites, -1)
    for site in np.flatnonzero((defects == 0) & supercell.lattice.can_hold[supercell.basis, code]):
        marked = defects.copy()
        marked[site] = code
        key = supercell.key(marked)
        if key not in kinds:
            kinds[key] = len(kinds)
            labels.append(str(supercell.labels[site]))
        found[site] = kinds[key]
    return found


def _carrier(supercell: Supercell) -> int:
    """The number that stands for a carrier in configurations."""
    lattice = supercell.lattice
    codes = [k for k, s in enumerate(lattice.species, start=1) if s.kind == "carrier"]
    if len(codes) != 1:
        raise PatternError(f"{lattice.name} has {len(codes)} kinds of carriers: residence is compared for one")
    return codes[0]


def _weights(model, supercell, defects, n_carriers, kelvin, chains, moves, seed) -> np.ndarray:
    """(chains, n_sites) share of the carriers on each site."""
    sampler, code = Sampler(model, supercell, "carriers"), _carrier(supercell)
    free = np.flatnonzero((defects == 0) & supercell.lattice.can_hold[supercell.basis, code])
    found = []
    for rng in np.random.default_rng(seed).spawn(chains):
        occupations = defects.copy()
        occupations[rng.choice(free, n_carriers, replace=False)] = code
        chain = sampler.chain(occupations, rng)
        chain.run(kelvin, moves // 5)  # from a random start to equilibrium
        samples = chain.sample(kelvin, SAMPLES, every=max(1, moves // SAMPLES))
        found.append((samples == code).mean(axis=0) / n_carriers)
    return np.array(found)
