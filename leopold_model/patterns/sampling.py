"""Markov chains of configurations of one supercell at a temperature in kelvin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import numpy as np
from ase.units import kB

from leopold_model.patterns import PatternError, kernel
from leopold_model.patterns.network import PatternModel
from leopold_model.patterns.settings import Explore
from leopold_model.patterns.supercell import Supercell
from leopold_model.patterns.tables import make_tables, neighbours

REFRESH = 5000  # moves after which the float32 state is computed anew


@dataclass(frozen=True)
class Sampler:
    """What chains of one supercell share: the energy model as tables, and the moves.

    `explore`: `all` defects move, carriers also between labels (layers); in `layers` carriers keep to their label; with
    `carriers` nothing else moves, and with `defects` all but them. `reach` overrides how far a species moves at once,
    in parent vectors along each axis: `{"VO": (1, 0, 0)}` keeps vacancies in their rows. `coupled` is the share of
    moves that take a defect and one beside it along together.
    """

    model: PatternModel
    supercell: Supercell
    explore: Explore = "all"
    reach: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    coupled: float = 0.0

    def __post_init__(self):
        self.model.descriptor.check(self.supercell)
        for name in self.reach:
            self.supercell.lattice.code(name)
        if not 0 <= self.coupled < 1:
            raise PatternError(f"coupled = {self.coupled}: a share of the moves, from 0 to below 1")

    @cached_property
    def tables(self):
        """The pair tables of the model."""
        return make_tables(self.model)

    @cached_property
    def near(self) -> np.ndarray:
        """(n_sites, K) neighbours in this supercell."""
        return neighbours(self.tables, self.supercell)

    @cached_property
    def _reach(self) -> np.ndarray:
        """(s, 3) parent vectors; zero: does not move."""
        still = np.zeros(3)
        held = {"carriers": False, "defects": True}.get(self.explore)  # whether it is carriers that stay, or the others
        return np.array(
            [
                still if held is (s.kind == "carrier") else self.reach.get(s.name, s.reach)
                for s in self.supercell.lattice.species
            ]
        )

    @cached_property
    def _targets(self) -> list[np.ndarray]:
        """Per species, (n_sites, M) sites a move may take it to."""
        lattice = self.supercell.lattice
        found = []
        for s, species in enumerate(lattice.species):
            holds = lattice.can_hold[:, s + 1]
            same = np.array([[p == q for q in lattice.site_labels] for p in lattice.site_labels])
            kept = holds[:, None] & holds[None]
            if species.kind == "carrier" and self.explore == "layers":
                kept &= same
            found.append(self._around(self._reach[s], kept))
        return found

    def _around(self, reach: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """(n_sites, M) sites within `reach` parent vectors along each axis, of the parent sites `kept` (b, b)."""
        lattice, cell = self.supercell.lattice, self.supercell
        steps = [range(-int(r) - 1, int(r) + 2) if p else (0,) for r, p in zip(reach, lattice.pbc, strict=True)]
        offsets = np.array(list(product(*steps)))
        away = offsets[:, None, None] + lattice.site_positions[None, None] - lattice.site_positions[None, :, None]
        inside = (np.abs(away) <= reach + 1e-6).all(axis=3) & (np.abs(away).max(axis=3) > 1e-6) & kept[None]
        width = max(1, int(inside.sum(axis=(0, 2)).max()))
        table = np.full((cell.n_sites, width), -1)
        for b in range(lattice.n_sites):
            offset, basis = np.nonzero(inside[:, b])
            where = cell.wrap(cell.cells[:, None] + offsets[offset][None]) * lattice.n_sites + basis
            table[b :: lattice.n_sites, : len(basis)] = where
        return table

    def moves(self, species_of: np.ndarray) -> kernel.Moves:
        """The moves of a configuration with these species (d,)."""
        lattice, cell = self.supercell.lattice, self.supercell
        widths = np.array([t.shape[1] for t in self._targets])
        targets = np.full((len(widths), cell.n_sites, widths.max()), -1, dtype=np.int32)
        for s, table in enumerate(self._targets):
            targets[s, :, : widths[s]] = table
        mobile = np.flatnonzero([(targets[s - 1] >= 0).any() for s in species_of])
        if not len(mobile):
            raise PatternError(f"explore = {self.explore!r}, reach = {dict(self.reach)}: nothing may move")
        vectors = [v for v in product(*((-1, 0, 1) if p else (0,) for p in lattice.pbc)) if any(v)]
        everywhere = np.ones((lattice.n_sites, lattice.n_sites), dtype=bool)
        return kernel.Moves(
            mobile=mobile,
            targets=targets,
            n_targets=widths,
            partners=self._around(np.ones(3), everywhere).astype(np.int32),
            shifts=np.stack([cell.translation(np.array(v)) for v in vectors], axis=1).astype(np.int32),
            may_shift=np.all(np.abs(vectors)[None] <= self._reach[:, None] + 1e-6, axis=2),
            coupled=float(self.coupled),
        )

    def chain(self, occupations: np.ndarray, seed: int | np.random.Generator) -> Chain:
        """A chain that starts from a configuration (n_sites,)."""
        return Chain(self, self.supercell.check(occupations), np.random.default_rng(seed))


class Chain:
    """One Markov chain. `energy` and `best_energy` in eV, `best` (n_sites,) the configuration of the latter."""

    def __init__(self, sampler: Sampler, occupations: np.ndarray, rng: np.random.Generator):
        sites = np.flatnonzero(occupations)
        if not len(sites):
            raise PatternError("an empty configuration has nothing to sample: give counts")
        self.sampler, self.rng = sampler, rng
        n, width = len(sites), sampler.tables.bias.shape[1]
        defect_at = np.full(sampler.supercell.n_sites, -1, dtype=np.int32)
        defect_at[sites] = np.arange(n)
        self._state = kernel.State(
            occupations=occupations.astype(np.int8),
            defect_at=defect_at,
            site_of=sites.astype(np.int32),
            species_of=occupations[sites].astype(np.int8),
            h=np.zeros((n, width), dtype=np.float32),
            e=np.zeros(n),
            kinds=np.zeros(n, dtype=np.int64),
            trial_h=np.zeros((n + 2, width), dtype=np.float32),
            trial_e=np.zeros(n + 2),
            trial_kinds=np.zeros(n + 2, dtype=np.int64),
            touched=np.zeros(n + 2, dtype=np.int64),
            place=np.zeros(n, dtype=np.int64),
            stamp=np.zeros(n, dtype=np.int64),
            work=kernel.make_work(),
        )
        self._moves = sampler.moves(self._state.species_of)
        self.moves = self.accepted = 0
        self.energy = self._refresh()
        self.best_energy, self.best = self.energy, self.occupations

    @property
    def occupations(self) -> np.ndarray:
        """(n_sites,) where the chain is, a copy."""
        return self._state.occupations.copy()

    def run(self, temperature: float, n_moves: int) -> Chain:
        """`n_moves` trial moves at a temperature in K; every call begins with energies computed anew."""
        if not temperature > 0:
            raise PatternError(f"temperature = {temperature} K: give a positive one")
        sampler = self.sampler
        system = (sampler.supercell.lattice.n_sites, sampler.near, self._state, sampler.tables, self._moves)
        for done in range(0, n_moves, REFRESH):
            self.energy, self.best_energy, accepted = kernel.run(
                self.rng,
                kB * temperature,
                min(REFRESH, n_moves - done),
                self._refresh(),
                self.best_energy,
                self.best,
                *system,
            )
            self.accepted += accepted
        self.moves += n_moves
        return self

    def sample(self, temperature: float, n_samples: int, every: int) -> np.ndarray:
        """(n_samples, n_sites) configurations, `every` moves apart."""
        return np.array([self.run(temperature, every).occupations for _ in range(n_samples)])

    def _refresh(self) -> float:
        sampler = self.sampler
        return kernel.refresh(sampler.supercell.lattice.n_sites, sampler.near, self._state, sampler.tables)

    def to_dict(self) -> dict:
        """All that a later run needs to continue as if this one had not stopped; JSON-ready."""
        return {
            "sites": self._state.site_of.tolist(),
            "species": self._state.species_of.tolist(),
            "rng": self.rng.bit_generator.state,
            "moves": self.moves,
            "accepted": int(self.accepted),
            "best_energy": self.best_energy,
            "best": self.best.tolist(),
        }

    @classmethod
    def from_dict(cls, sampler: Sampler, data: Mapping) -> Chain:
        """Inverse of `to_dict`, for the same sampler."""
        occupations = np.zeros(sampler.supercell.n_sites, dtype=np.int8)
        occupations[data["sites"]] = data["species"]
        rng = np.random.default_rng()
        rng.bit_generator.state = data["rng"]
        chain = cls(sampler, sampler.supercell.check(occupations), rng)
        # the order of defects is part of the state: it decides which one a random number means
        chain._state.site_of[:], chain._state.species_of[:] = data["sites"], data["species"]
        chain._state.defect_at[data["sites"]] = np.arange(len(data["sites"]))
        chain._moves = sampler.moves(chain._state.species_of)
        chain.moves, chain.accepted = data["moves"], data["accepted"]
        chain.best_energy, chain.best = data["best_energy"], np.array(data["best"], dtype=np.int8)
        chain.energy = chain._refresh()
        return chain
