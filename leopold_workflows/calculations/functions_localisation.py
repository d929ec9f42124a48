"""Calcfunctions that make the structures a carrier is localised in: distorted bonds, a site changed and put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from ase import Atoms

from leopold_workflows.vasp.bonds import neighbours

CHARGE = {"electron": -1, "hole": 1}


@calcfunction
def distort_around(
    structure: orm.StructureData,
    carrier: orm.Dict,
    sites: orm.List,
    amount: orm.Float,
    rattle: orm.Float,
    seed: orm.Int,
) -> orm.StructureData:
    """The bonds of `sites` changed by the fraction `amount`, then every atom displaced at random, as ShakeNBreak does.

    Neighbours move away where the carrier's charge is opposite to that of its ion (an electron on a cation, a hole on
    an anion: the neighbours are ions of the other sign, held less), and towards it where they are alike. The random
    displacements are normal with standard deviation `rattle` (Angstrom) and leave the centre of mass where it was.
    """
    atoms, moves = structure.get_ase(), np.zeros((len(structure.sites), 3))
    for site in sites.get_list():
        near, vectors = neighbours(atoms, site)
        moves[near] += outward(carrier.get_dict(), structure.sites[site].kind_name) * amount.value * vectors
    random = np.random.default_rng(seed.value).normal(scale=rattle.value, size=moves.shape)
    masses = atoms.get_masses()[:, None]
    atoms.positions += moves + random - (masses * random).sum(axis=0) / masses.sum()
    return orm.StructureData(ase=atoms)


@calcfunction
def substitute_on(structure: orm.StructureData, carrier: orm.Dict, sites: orm.List, substitute: orm.Str) -> dict:
    """`structure` with atoms of `substitute` on `sites`, put last so that they are one block, and its `carrier`."""
    return {
        "structure": orm.StructureData(ase=substituted(structure.get_ase(), sites.get_list(), substitute.value)),
        "carrier": orm.Dict(
            substituted_carrier(carrier.get_dict(), structure.sites[sites[0]].kind_name, substitute.value)
        ),
    }


@calcfunction
def restore_host(relaxed: orm.StructureData, host: orm.StructureData, sites: orm.List) -> orm.StructureData:
    """`host` with the positions of `relaxed`, which `substitute_on` made of it."""
    atoms, found = host.get_ase(), relaxed.get_ase()
    atoms.set_cell(found.cell)
    atoms.positions[_order(len(atoms), sites.get_list())] = found.positions
    return orm.StructureData(ase=atoms)


def outward(carrier: Mapping, kind: str) -> int:
    """1 if the carrier pushes the neighbours of an ion `kind` away, -1 if it draws them; 1 if the charge is unknown."""
    ion = (carrier.get("formal_charges") or {}).get(kind, 0)
    return -1 if CHARGE[carrier["kind"]] * ion > 0 else 1


def substituted(atoms: Atoms, sites: Sequence[int], substitute: str) -> Atoms:
    """`atoms` with the element `substitute` on `sites`, these atoms last."""
    changed = atoms.copy()
    changed.symbols[list(sites)] = substitute
    return changed[_order(len(atoms), sites)]


def substituted_carrier(carrier: Mapping, host: str, substitute: str) -> dict:
    """The carrier where `substitute` stands for the kind `host`.

    Unless its formal charge is given it is one that binds the carrier as a neutral impurity: V5+ with an electron for
    Ti4+, N3- with a hole for O2-. The electrons are then those of the neutral cell.
    """
    charges = dict(carrier.get("formal_charges") or {})
    charges.setdefault(substitute, charges.get(host, 0) - CHARGE[carrier["kind"]])
    return {**carrier, "species": [*carrier["species"], substitute], "formal_charges": charges}


def _order(n: int, sites: Sequence[int]) -> list[int]:
    return [*(i for i in range(n) if i not in set(sites)), *sorted(sites)]
