"""What the YAML of a material holds: all that a study knows of its crystal. A new host is such a file, and no code."""

from __future__ import annotations

from typing import Annotated, Literal

from ase.data import atomic_numbers
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _symbol(name: str) -> str:
    if name not in atomic_numbers or name == "X":
        raise ValueError("no chemical symbol; write the element as POSCAR has it, like Ti")
    return name


Element = Annotated[str, AfterValidator(_symbol)]
Vector = Annotated[list[float], Field(min_length=3, max_length=3)]
Indices = Annotated[list[int], Field(min_length=3, max_length=3)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Lattice(_Section):
    """The perfect crystal and the supercell of the study."""

    cell: Vector | Annotated[list[Vector], Field(min_length=3, max_length=3)] = Field(
        description="Angstrom: edges of an orthogonal cell, or its three vectors"
    )
    basis: dict[Element, list[Vector]] = Field(min_length=1, description="fractional positions by species")
    repeat: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]


class Defect(_Section):
    """One in the cell."""

    replace: Element = Field(description="species of the host; the first atom of it")
    by: Element | None = Field(description="null: a vacancy")


class Carrier(_Section):
    """The excess charge and the sublattice that can hold it."""

    kind: Literal["electron", "hole"]
    n: int = Field(1, ge=1)
    species: list[Element] = Field(min_length=1)
    formal_charges: dict[Element, int] = Field(description="of every species the study may meet: closed shells")
    orbital: int | list[float] | None = Field(None, description="that occupation control fills, in VASP's order")


class Hubbard(_Section):
    """DFT+U on one shell: l, and U and J in eV."""

    l: int = Field(ge=-1, le=3)  # noqa: E741 - as in LDAUL
    u: float
    j: float = 0.0


class Patterns(_Section):
    """For the WorkChains of patterns: a lattice, its cell for labels, its area, the orbital of each label."""

    lattice: str
    supercell: str
    area: str
    orbitals: dict[str, int | list[float]]


class Demo(_Section):
    """What `aiida-leopold demo` does otherwise."""

    material: str | None = Field(None, description="another one in its place, small enough for a laptop")
    overrides: dict = Field({}, description="one mapping per protocol name, as a study has them")


class Material(_Section):
    """The file."""

    name: str
    lattice: Lattice
    defect: Defect | None = None
    patterns: Patterns | None = None
    carrier: Carrier
    incar: dict = Field({}, description="INCAR tags of every run of this material, laid over those of the protocol")
    hubbard: dict[Element, Hubbard]
    substitute: Element | None = Field(None, description="impurity on the site for a while, of 'substitution'")
    potentials: dict[Element, str] = Field({}, description="POTCAR folder of a species, where it is not its symbol")
    temperatures: list[Annotated[float, Field(gt=0)]] = Field(min_length=1, description="K, of the seed's dynamics")
    pathway_cutoff: float = Field(7.0, gt=0, description="Angstrom: hop classes enumerated beforehand")
    fixed: list[Annotated[int, Field(ge=0)]] = Field(
        [], description="atoms of the supercell held in place by VASP and in learned dynamics: the bottom of a slab"
    )
    rows: Indices | None = Field(None, description="[uvw]: carrier time by row, beside defects")
    planes: Indices | None = Field(None, description="(hkl): the same by plane")
    demo: Demo = Demo()

    @model_validator(mode="after")
    def _consistent(self):
        basis, charges = self.lattice.basis, self.carrier.formal_charges
        for name in self.carrier.species:
            if name not in basis:
                raise ValueError(f"carrier.species: {name} is not in the crystal: choose from {', '.join(basis)}")
        for name in basis:
            if name not in charges:
                raise ValueError(f"carrier.formal_charges: none for {name}; electrons are counted from them")
        total = sum(charges[name] * len(positions) for name, positions in basis.items())
        if total:
            raise ValueError(f"carrier.formal_charges: the crystal has a charge of {total:+d}; closed shells have none")
        if self.defect and self.defect.replace not in basis:
            raise ValueError(
                f"defect: replace = {self.defect.replace!r} is not in the crystal: choose one of {', '.join(basis)}"
            )
        if self.fixed and self.defect and self.defect.by is None:
            raise ValueError("fixed: a vacancy takes an atom out, and the numbers of the others change; give no defect")
        return self
