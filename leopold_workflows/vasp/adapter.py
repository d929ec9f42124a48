"""From a physical request to the inputs of one `leopold.vasp` job: the only module that knows aiida-vasp's ports.

A WorkChain says which stage it wants (`relax`, `static`, `md`), on which structure, with the carrier on which
sites. What is common to all runs of a study stands in the namespace `vasp` (see `expose`); everything that
depends on the order of atoms or species (MAGMOM, LDAU*, NELECT) is made here and nowhere else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from aiida import orm
from aiida.common import AttributeDict
from aiida.common.exceptions import NotExistent
from aiida_vasp.calcs.vasp import VaspCalculation
from aiida_vasp.data.potcar import PotcarData, PotcarFileData, PotcarGroup

from leopold_model.vasp.incar import PolaronCell, polaron_incar
from leopold_model.vasp.poscar import blocks
from leopold_workflows.vasp import level_of_theory

# OUTCARs of dynamics are hundreds of MB: read once, then left on the computer; their frames are a few
READ_AND_DROP = {"ALWAYS_STORE": False, "ADDITIONAL_RETRIEVE_LIST": ["CONTCAR", "vasp_output"]}
# a run with imposed occupations has the INCAR of stage 'omc'; whether its ions move is the stage's business
_MOTION = {"static": {"nsw": 0, "ibrion": -1}}


def expose(spec) -> None:
    """Add the namespace `vasp`, what all VASP runs of a study share, to the spec of a WorkChain."""
    spec.input_namespace("vasp", help="What all VASP runs of the study share.")
    spec.input("vasp.code", valid_type=orm.AbstractCode, help="VASP, or the stand-in.")
    spec.input_namespace("vasp.potential", valid_type=PotcarData, dynamic=True, help="POTCAR of every kind.")
    spec.input("vasp.kpoints", valid_type=orm.KpointsData, help="k-point mesh.")
    spec.input("vasp.parameters", valid_type=orm.Dict, help="INCAR tags of every run: the level of theory.")
    spec.input(
        "vasp.hubbard",
        valid_type=orm.Dict,
        required=False,
        help="Per kind `{l, u, j}` of DFT+U; `l` alone (u = 0) prints the onsite occupations without correcting.",
    )
    spec.input(
        "vasp.dynamics",
        valid_type=orm.Dict,
        required=False,
        help="`positions_dof` (n_atoms, 3), true where a coordinate may move: slabs keep their bottom.",
    )
    spec.input(
        "vasp.reducer",
        valid_type=orm.AbstractCode,
        required=False,
        help="`leopold` on the computer of VASP; with it OUTCARs of dynamics stay there.",
    )
    spec.input(
        "vasp.options",
        valid_type=dict,
        non_db=True,
        required=False,
        validator=_options,
        help="metadata.options of every job.",
    )


def job_inputs(
    vasp: Mapping,
    structure: orm.StructureData,
    carrier: orm.Dict,
    *,
    stage: str,
    run: str,
    sites: Sequence[int],
    incar: Mapping | None = None,
    occmatrix: orm.SinglefileData | None = None,
    velocities: orm.ArrayData | None = None,
    restart_folder: orm.RemoteData | None = None,
    tags: Mapping | None = None,
) -> AttributeDict:
    """Inputs of one `LeopoldVaspCalculation`.

    `stage` chooses the INCAR, `incar` overrides it. With `occmatrix` a 'relax' or 'static' run imposes these
    occupations. `sites` are the atoms that moments are seeded on, the carrier's or all that can take it, unless
    VASP finds them in the WAVECAR of `restart_folder`. `run` names the trajectory the frames belong to and `tags`
    are further fields of its frames. Raises VaspError when the INCAR contradicts itself, which
    `validation.study_faults` says beforehand.
    """
    parameters = incar_tags(vasp, structure, carrier, stage, incar, sites, imposed=occmatrix is not None)
    inputs = AttributeDict(
        {
            "code": vasp["code"],
            "structure": structure,
            "carrier": carrier,
            "parameters": orm.Dict(parameters),
            "potential": {k: vasp["potential"][k] for k in kinds(structure)},
            "kpoints": vasp["kpoints"],
            "tags": orm.Dict({"run": run, **(tags or {})}),
            "metadata": {"options": dict(vasp.get("options") or {}), "label": run},
        }
    )
    if stage == "md":
        inputs.settings = orm.Dict(READ_AND_DROP)
        if "reducer" in vasp:
            inputs.reducer = vasp["reducer"]
    if "dynamics" in vasp:
        inputs.dynamics = vasp["dynamics"]
    for name, node in (("occmatrix", occmatrix), ("velocities", velocities), ("restart_folder", restart_folder)):
        if node is not None:
            inputs[name] = node
    return inputs


def incar_tags(
    vasp: Mapping,
    structure: orm.StructureData,
    carrier: orm.Dict,
    stage: str,
    incar: Mapping | None,
    sites: Sequence[int] = (),
    imposed: bool = False,
) -> dict:
    """INCAR of the run that `job_inputs` makes, lower case, in the order of the structure's blocks and sites; with
    `imposed` that of one with an occupation matrix."""
    tags = polaron_incar(
        "omc" if imposed else stage,
        cell_of(structure, vasp["potential"], carrier.get_dict(), _hubbard(vasp)),
        sites=sites,
        **{**lower(vasp["parameters"].get_dict()), **_MOTION.get(stage, {}), **lower(incar or {})},
    )
    return {tag: value for tag, value in lower(tags).items() if value is not None}


def _options(options: Mapping | None, _) -> str | None:
    """Why these scheduler options would be refused by every job."""
    known = VaspCalculation.spec().inputs["metadata"]["options"]
    for name in options or {}:
        if name not in known:
            near = difflib.get_close_matches(str(name), list(known), n=1)
            return f"unknown option {name!r}: {f'did you mean {near[0]!r}?' if near else ', '.join(known)}"
    error = known.validate(dict(options)) if options else None
    return None if error is None else error.message


def lower(tags: Mapping) -> dict:
    """The same tags in lower case."""
    return {str(key).lower(): value for key, value in tags.items()}


# ---------------------------------------------------------------------------------------- per kind and per site


def kinds(structure: orm.StructureData) -> list[str]:
    """Kind names in the order of their blocks in POSCAR and POTCAR."""
    return [kind for kind, _ in blocks([site.kind_name for site in structure.sites])]


def potentials(names: Sequence[str], family: str, mapping: Mapping[str, str]) -> dict[str, PotcarData]:
    """POTCARs of the kinds `names` from `family`; `mapping` names the POTCAR folder of each kind."""
    found = {}
    for kind in names:
        name = mapping.get(kind, kind)
        try:
            found[kind] = PotcarData.get_potcars_dict([kind], family, mapping={kind: name})[kind]
        except NotExistent:
            known = sorted(group.label for group in orm.QueryBuilder().append(PotcarGroup).all(flat=True))
            if family not in known:
                raise ValueError(
                    f"potential_family = {family!r}: no POTCAR family of that name in this profile "
                    f"(there are: {', '.join(known) or 'none'}); upload it with `aiida-vasp potcar uploadfamily`"
                ) from None
            raise ValueError(
                f"no POTCAR {name!r} for kind {kind!r} in family {family!r}: upload it with `aiida-vasp potcar "
                "uploadfamily` or name another one under `potentials`"
            ) from None
    return found


def valence(potcar: PotcarData) -> float:
    """Number of valence electrons (ZVAL) of a potential; needs its file, which stays in the licensee's profile."""
    return _valence(potcar.sha512)


@lru_cache
def _valence(sha512: str) -> float:
    # the hash is that of the file, so what was read once holds for good
    try:
        potcar = PotcarFileData.find_one(sha512=sha512)
    except NotExistent:
        raise ValueError(
            f"the POTCAR file with SHA-512 {sha512[:12]}... is not in this profile, only its name (archives never hold "
            "the licensed file): upload the same family with `aiida-vasp potcar uploadfamily`"
        ) from None
    found = re.search(r"ZVAL\s*=\s*([\d.]+)", potcar.get_content().decode(errors="replace"))
    if found is None:
        raise ValueError(f"POTCAR {potcar.full_name!r} has no ZVAL: its file is damaged")
    return float(found.group(1))


def closed_shell_electrons(structure: orm.StructureData, potential: Mapping, carrier: Mapping) -> float:
    """Electrons of the cell with every ion in its formal charge, where no carrier is left; neutral without charges."""
    charges = carrier.get("formal_charges") or {}
    valences = {kind: valence(potential[kind]) for kind in kinds(structure)}
    return sum(valences[site.kind_name] - charges.get(site.kind_name, 0) for site in structure.sites)


def cell_of(
    structure: orm.StructureData, potential: Mapping, carrier: Mapping, hubbard: Mapping | None = None
) -> PolaronCell:
    """What the INCAR of a run depends on, in the order of POSCAR's blocks."""
    order = blocks([site.kind_name for site in structure.sites])
    return PolaronCell(
        species=[kind for kind, _ in order],
        counts=[count for _, count in order],
        valences=[valence(potential[kind]) for kind, _ in order],
        carrier=carrier["kind"],
        n_carriers=carrier["n"],
        hubbard={
            kind: (int(u["l"]), float(u.get("u", 0.0)), float(u.get("j", 0.0)))
            for kind, u in (hubbard or {}).items()
            if kind in dict(order)
        },
        closed_shell=closed_shell_electrons(structure, potential, carrier),
        delocalised=bool(carrier.get("delocalised")),
    )


def _hubbard(vasp: Mapping) -> dict:
    return vasp["hubbard"].get_dict() if "hubbard" in vasp else {}


# -------------------------------------------------------------------------------------------------------- comparability


def settings_hash(
    structure: orm.StructureData, parameters: Mapping, potential: Mapping, kpoints: orm.KpointsData
) -> str:
    """Hash of the level of theory of one job (see `level_of_theory`)."""
    return level_of_theory.settings_hash(_level(structure, parameters, potential, kpoints))


def _level(structure: orm.StructureData, parameters: Mapping, potential: Mapping, kpoints: orm.KpointsData) -> dict:
    try:
        points = kpoints.get_kpoints_mesh()
    except AttributeError:
        points = kpoints.get_kpoints().tolist()
    order = kinds(structure)
    potcars = {kind: potential[kind].sha512 for kind in order}
    return level_of_theory.level_of_theory(order, lower(parameters), potcars, points, structure.cell)


def stage_settings(
    vasp: Mapping, structure: orm.StructureData, carrier: orm.Dict, stage: str, incar: Mapping | None = None
) -> str:
    """That hash for the runs of a `stage`, before there is one; raises VaspError as `job_inputs` does."""
    return level_of_theory.settings_hash(stage_level(vasp, structure, carrier, stage, incar))


def stage_level(
    vasp: Mapping, structure: orm.StructureData, carrier: orm.Dict, stage: str, incar: Mapping | None = None
) -> dict:
    """The `level_of_theory` behind that hash."""
    parameters = incar_tags(vasp, structure, carrier, stage, incar)
    return _level(structure, parameters, vasp["potential"], vasp["kpoints"])
