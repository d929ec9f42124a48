"""ASE calculator, with the carrier under control.

Which atom is flagged is part of the state, so the calculator owns it: `carrier_sites` fixes the charge state, and
`follow=True` lets it move to the most magnetised atoms after every evaluation, as dynamics does (the next evaluation
then uses the new sites; `results` belong to the old ones).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from leopold_model.charge import charge_state, spin_moments
from leopold_model.checkpoint import Model, ModelError, load_model
from leopold_model.frames import carrier_sites as largest
from leopold_model.graph import NeighbourOverflow

HEADROOM = 1.15  # spare rows of the pair list, so that a few more pairs do not mean another compilation


class LeopoldCalculator(Calculator):
    """Energy (eV), forces (eV/Angstrom), stress (eV/Angstrom^3, Voigt), magmom and magmoms (mu_B). `results` also
    has `occupations` (n, 2), and the `carrier` and `carrier_sites` they are for, which `Frame.from_atoms` takes."""

    implemented_properties = ["energy", "forces", "stress", "magmom", "magmoms"]  # noqa: RUF012 - ASE's own convention

    def __init__(
        self, model: Model | str | Path, carrier_sites: Sequence[int], *, follow: bool = False, dtype="float32"
    ):
        super().__init__()
        self.model = (model if isinstance(model, Model) else load_model(model)).astype(dtype)
        self.follow = follow
        self.capacity = 0
        self.carrier_sites = tuple(carrier_sites)

    @property
    def carrier_sites(self) -> tuple[int, ...]:
        return self._sites

    @carrier_sites.setter
    def carrier_sites(self, sites: Sequence[int]) -> None:
        sites = tuple(int(i) for i in sites)
        if len(sites) != self.model.n_carriers:
            raise ModelError(f"carrier_sites = {sites}: this model was trained with {self.model.n_carriers} carrier(s)")
        self._sites = sites
        self.results = {}  # another charge state is another energy surface

    def calculate(self, atoms: Atoms | None = None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        species = self.model.species_index(atoms.numbers)
        charge = charge_state(len(atoms), self.carrier_sites)
        out = self.model.evaluate(atoms.positions, atoms.cell.array, self._edges(atoms), species, charge)
        occupations = np.asarray(out.occupations, dtype=float)
        energy = float(out.energy) + self.model.reference_energy(species)
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": np.asarray(out.forces, dtype=float),
            "magmom": float(spin_moments(occupations).sum()),
            "magmoms": spin_moments(occupations),
            "occupations": occupations,
            "carrier": self.model.carrier,
            "carrier_sites": self.carrier_sites,
        }
        if atoms.cell.rank == 3:
            stress = np.asarray(out.virial, dtype=float) / atoms.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
        if self.follow:
            self._sites = largest(self.results["magmoms"], self.model.n_carriers)

    def _edges(self, atoms: Atoms):
        args = (atoms.positions, atoms.cell.array, atoms.pbc)
        try:
            return self.model.neighbours(*args, capacity=self.capacity)
        except NeighbourOverflow as overflow:
            self.capacity = int(overflow.needed * HEADROOM)
            return self.model.neighbours(*args, capacity=self.capacity)
