"""From a protocol, a material and a code to the inputs that every VASP run of a study shares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from aiida import orm
from aiida.common.exceptions import NotExistent
from ase import Atoms

from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.protocols import FOLDER, ProtocolError, material, merge, protocol
from leopold_workflows.vasp import adapter, doping, standin_potcar

STANDIN = "leopold-vasp-standin"


@dataclass(frozen=True)
class Study:
    """A material at a protocol level. `vasp` is the content of the namespace `vasp` (see `adapter.expose`)."""

    material: dict
    level: str | None
    overrides: dict
    structure: orm.StructureData
    carrier: orm.Dict
    vasp: dict
    potential_family: str

    def protocol(self, name: str) -> dict:
        """Inputs of the protocol `name` at the level of this study, its overrides merged in."""
        return protocol(name, self.level, self.overrides.get(name))

    def vasp_with(self, kind: str) -> dict:
        """`vasp` with the potential and the Hubbard settings of one more `kind`: an impurity that comes for a while."""
        potential = adapter.potentials([kind], self.potential_family, self.material["potentials"])
        settings = {k: u for k, u in self.material["hubbard"].items() if k == kind}
        return {
            **self.vasp,
            "potential": {**self.vasp["potential"], **potential},
            "hubbard": orm.Dict({**self.vasp["hubbard"].get_dict(), **settings}),
        }

    @property
    def arrangements(self) -> FrameSetData | None:
        """Starts of a doped study (see `doping.arrangements`); None where the material has no defect."""
        if not self.material["defect"]:
            return None
        count = self.protocol("seed")["arrangements"]
        return doping.arrangements(self.structure.get_ase(), self.material["defect"], self.carrier.get_dict(), count)

    @property
    def sites(self) -> list[int]:
        """Default carrier sites: the first n atoms that can take one."""
        species = set(self.carrier["species"])
        eligible = [i for i, site in enumerate(self.structure.sites) if site.kind_name in species]
        return eligible[: self.carrier["n"]]


def study(
    code: orm.AbstractCode,
    *,
    material_name: str,
    structure: orm.StructureData | None = None,
    level: str | None = None,
    overrides: dict | None = None,
    potential_family: str | None = None,
    options: dict | None = None,
    also: Iterable[str] = (),
) -> Study:
    """The study of `material_name` with `code`. `also` are elements that some of its structures have beside the
    host's; that of the material's `defect` is among them anyway.

    `structure` replaces the material's own supercell (sites sorted by kind). `overrides` has one mapping per
    protocol name ('vasp', 'seed', 'fpmd', 'label' ...) and one for 'material'. Without `potential_family` the
    stand-in gets its placeholders; VASP itself needs one.
    """
    if overrides is not None and not isinstance(overrides, dict):
        raise ProtocolError(f"overrides: {overrides!r}; give one mapping per protocol name, like seed: {{stride: 3}}")
    overrides = dict(overrides or {})
    merge({p.stem: {} for p in FOLDER.glob("*.yaml")} | {"material": {}}, {k: None for k in overrides}, "overrides")
    recipe = material(material_name, overrides.pop("material", None))
    common = protocol("vasp", level, overrides.get("vasp"))
    changes = (overrides.get("vasp") or {}).get("incar") or {}
    incar = {**protocol("vasp", level)["incar"], **recipe["incar"], **changes}
    structure = structure or orm.StructureData(ase=supercell(recipe["lattice"]))
    if potential_family is None:
        if code.get_executable().name != STANDIN:
            raise ProtocolError(
                "potential_family is missing: VASP needs POTCARs; give the label of a family uploaded with "
                "`aiida-vasp potcar uploadfamily` (`aiida-vasp potcar listfamilies` shows them)"
            )
        potential_family = standin_potcar.install()
    kpoints = orm.KpointsData()
    try:
        kpoints.set_kpoints_mesh(common["kpoints"])
    except ValueError:
        raise ProtocolError(f"overrides of vasp: kpoints = {common['kpoints']!r}: give a mesh like [1, 1, 1]") from None
    if code.get_executable().name.startswith("vasp_gam") and list(common["kpoints"]) != [1, 1, 1]:
        raise ProtocolError(
            f"overrides of vasp: kpoints = {common['kpoints']}, but {code.full_label} is vasp_gam, which knows the "
            "Gamma point alone: give a code of vasp_std"
        )
    own = adapter.kinds(structure)
    others = {*also, *([recipe["defect"]["by"]] if recipe["defect"] else [])} - {*own, None}
    used = {*own, *others}
    vasp = {
        "code": code,
        "potential": adapter.potentials([*own, *sorted(others)], potential_family, recipe["potentials"]),
        "kpoints": kpoints,
        "parameters": orm.Dict(incar),
        "hubbard": orm.Dict({kind: u for kind, u in recipe["hubbard"].items() if kind in used}),
        "options": merge(common["options"], options or {}, "options"),
        **({"reducer": _reducer(common["reducer"], code)} if common["reducer"] else {}),
        **({"dynamics": _held(recipe["fixed"], len(structure.sites))} if recipe["fixed"] else {}),
    }
    charges = {k: q for k, q in recipe["carrier"]["formal_charges"].items() if k in used | {recipe["substitute"]}}
    carrier = orm.Dict({**recipe["carrier"], "formal_charges": charges})
    return Study(recipe, level, overrides, structure, carrier, vasp, potential_family)


def elements_of(*sets: FrameSetData | None) -> set[str]:
    """The elements in all `sets` that are given."""
    return {element for frames in sets if frames is not None for element in frames.base.attributes.get("elements")}


def _held(fixed: list[int], n_atoms: int) -> orm.Dict:
    """Which coordinates may move where the atoms `fixed` may not."""
    if max(fixed) >= n_atoms:
        raise ProtocolError(f"fixed: atom {max(fixed)}, but the supercell has atoms 0 to {n_atoms - 1}")
    return orm.Dict({"positions_dof": [[k not in fixed] * 3 for k in range(n_atoms)]})


def _reducer(label: str, vasp: orm.AbstractCode) -> orm.AbstractCode:
    """The code of that label, which must be on the computer of `vasp`."""
    try:
        code = orm.load_code(label)
    except NotExistent:
        raise ProtocolError(
            f"reducer = {label!r}: no such code; `verdi code list` shows them, give label@computer"
        ) from None
    if code.computer.uuid != vasp.computer.uuid:
        raise ProtocolError(
            f"reducer = {label!r} is on {code.computer.label}, but VASP on {vasp.computer.label}: install "
            "aiida-leopold there too and set up its `leopold` as a code"
        )
    return code


def supercell(lattice: dict) -> Atoms:
    """The supercell of a material's recipe: orthogonal or general `cell`, fractional `basis` per species, `repeat`."""
    symbols = [symbol for symbol, positions in lattice["basis"].items() for _ in positions]
    scaled = np.vstack([np.asarray(positions, float) for positions in lattice["basis"].values()])
    atoms = Atoms(symbols, scaled_positions=scaled, cell=lattice["cell"], pbc=True).repeat(lattice["repeat"])
    order = list(lattice["basis"])
    return atoms[sorted(range(len(atoms)), key=lambda i: order.index(atoms[i].symbol))]
