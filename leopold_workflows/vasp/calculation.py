"""`LeopoldVaspCalculation` (`leopold.vasp`): one VASP run of a cell with small polarons."""

from __future__ import annotations

from pathlib import Path

from aiida import orm
from aiida.common import CodeInfo
from aiida.engine.processes.calcjobs.calcjob import validate_calc_job
from aiida_vasp.calcs.vasp import VaspCalculation

from leopold_model.vasp.poscar import write_poscar
from leopold_model.vasp.reduced import REDUCED
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp import adapter
from leopold_workflows.vasp.validation import faults, tag_faults


class LeopoldVaspCalculation(VaspCalculation):
    """aiida-vasp's calculation with occupation-matrix control, velocities in and out, and frames as output.

    Molecular dynamics (IBRION = 0), relaxation and single points of a spin-polarised cell with `carrier`. The
    inputs are checked against each other before anything is submitted. A run that was killed gives every
    complete ionic step with exit code 410; no step is ever returned whose energy and forces were not both
    written.

    The retrieved files are OUTCAR, CONTCAR and standard output. vasprun.xml stays on the computer: it has no
    site moments, and would double what is transferred and stored. With `ALWAYS_STORE: False` in `settings`,
    which the WorkChains set for dynamics, OUTCAR is read and not stored. With a `reducer` it is not even transferred:
    the job ends by reducing it to some hundredth of its size on the computer it ran on. Where that did not come to
    pass, because the job was killed or the reducer failed, OUTCAR is retrieved as without one.
    """

    _ALWAYS_RETRIEVE_LIST = ["CONTCAR", "OUTCAR", VaspCalculation._VASP_OUTPUT]  # noqa: RUF012 (aiida-vasp's own name)

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input(
            "carrier",
            valid_type=orm.Dict,
            help="`kind` ('electron' or 'hole'), `n`, `species` (list of those that can take it); optionally "
            "`formal_charges` per species, from which the electrons of the cell without carrier are counted; "
            "`orbital`, the real harmonic (index in VASP's order, or a vector) that occupations are imposed in, and "
            "`orbitals`, others by site; `delocalised` where ISPIN = 1 spreads the carriers over the host.",
        )
        spec.input(
            "occmatrix",
            valid_type=orm.SinglefileData,
            required=False,
            help="Occupations to impose, in the format of OCCMATRIX; needs OCCEXT = 1 and a patched VASP.",
        )
        spec.input(
            "velocities",
            valid_type=orm.ArrayData,
            required=False,
            help="Array `velocities` (n_atoms, 3) in Angstrom/fs, written to POSCAR.",
        )
        spec.input(
            "tags",
            valid_type=orm.Dict,
            required=False,
            validator=lambda node, _: tag_faults(node.get_dict()) if node else None,
            help="Fields of every frame: `run`, `source`, `label`, `pathway`, `requested_sites`, `temperature`.",
        )
        spec.input(
            "reducer",
            valid_type=orm.AbstractCode,
            required=False,
            help="`leopold` on the computer of VASP: reduces OUTCAR there, so that it need not be transferred.",
        )
        spec.inputs.validator = validate
        spec.inputs["metadata"]["options"]["parser_name"].default = "leopold.vasp"
        spec.output("frames", valid_type=FrameSetData, required=False, help="Every complete ionic step.")
        spec.output(
            "velocities",
            valid_type=orm.ArrayData,
            required=False,
            help="Molecular dynamics: velocities (Angstrom/fs) that belong to the output `structure`.",
        )
        spec.output(
            "carrier",
            valid_type=orm.Dict,
            required=False,
            help="Where the carrier was: `sites`, `moment`, `participation`, all `moments` and the `cell_moment` of "
            "the last complete step; `sites_seen`, `localised_fraction`, `n_steps`, `n_converged`.",
        )
        spec.output(
            "occupations",
            valid_type=orm.Dict,
            required=False,
            help="Relaxation or single point without imposed occupations: `shells`, the onsite occupation matrices "
            "(`site`, `l`, `up`, `down`) of the carrier's atoms in the last step, the carrier's spin up.",
        )
        spec.exit_code(
            310,
            "ERROR_OUTPUT_MISSING",
            message="no OUTCAR was retrieved, VASP did not start: {problem}",
            invalidates_cache=True,
        )
        spec.exit_code(
            311,
            "ERROR_NO_COMPLETE_STEP",
            message="OUTCAR holds no complete ionic step: {problem}",
            invalidates_cache=True,
        )
        spec.exit_code(
            312,
            "ERROR_OUTPUT_UNREADABLE",
            message="OUTCAR could not be understood: {problem}",
            invalidates_cache=True,
        )
        spec.exit_code(
            320,
            "ERROR_OCCUPATIONS_NOT_IMPOSED",
            message="OCCEXT = 1 was asked but OUTCAR does not list every atom of OCCMATRIX with the occupations given "
            "there: this VASP is not patched for occupation-matrix control and ignored the tag, or read another file",
            invalidates_cache=True,
        )
        spec.exit_code(
            410,
            "ERROR_OUT_OF_WALLTIME",
            message="the run stopped after {done} of {asked} steps; the complete ones are in `frames`",
            invalidates_cache=True,
        )

    def prepare_for_submission(self, folder):
        """VASP, and behind it the reducer, which sets OUTCAR aside where retrieval does not find it."""
        calcinfo = super().prepare_for_submission(folder)
        if "reducer" in self.inputs:
            reduce = CodeInfo()
            reduce.code_uuid = self.inputs.reducer.uuid
            reduce.cmdline_params = ["reduce-vasp", "OUTCAR", REDUCED, "--set-aside"]
            reduce.stdout_name, reduce.join_files, reduce.withmpi = "reduce.txt", True, False
            calcinfo.codes_info.append(reduce)
            calcinfo.retrieve_list.append("reduce.txt")
            calcinfo.retrieve_temporary_list.append(REDUCED)
        return calcinfo

    def write_incar(self, dst: str, validate_tags: bool = False) -> None:
        """Write INCAR; tag names were checked by the validator, which also knows OCCEXT."""
        super().write_incar(dst, validate_tags=validate_tags)

    def write_poscar(self, dst: str) -> None:
        """Write POSCAR with all digits, and with velocities where given: a restart must not lose a bit."""
        structure = self.inputs.structure
        velocities = self.inputs.velocities.get_array("velocities") if "velocities" in self.inputs else None
        free = self.inputs.dynamics["positions_dof"] if "dynamics" in self.inputs else None
        write_poscar(Path(dst), structure.get_ase(), velocities=velocities, free=free)

    def write_potcar(self, dst: str) -> None:
        """Write the potentials one after the other, in the order of POSCAR's blocks."""
        potcars = (self.inputs.potential[kind] for kind in adapter.kinds(self.inputs.structure))
        Path(dst).write_bytes(b"".join(potcar.get_content() for potcar in potcars))

    def write_additional(self, folder, calcinfo) -> None:
        super().write_additional(folder, calcinfo)
        if "occmatrix" in self.inputs:
            node = self.inputs.occmatrix
            calcinfo.local_copy_list.append((node.uuid, node.filename, "OCCMATRIX"))

    def remote_copy_restart_folder(self) -> list[tuple[str, str, str]]:
        """Copy WAVECAR alone: with it VASP takes density and moments from the orbitals and needs no CHGCAR."""
        folder = self.inputs.restart_folder
        try:
            found = "WAVECAR" in folder.listdir()
        except OSError:  # the scratch was cleaned
            found = False
        if not found:
            self.report(f"no WAVECAR in {folder.get_remote_path()}: starting from MAGMOM")
            return []
        return [(self.node.computer.uuid, f"{folder.get_remote_path()}/WAVECAR", ".")]


def validate(inputs, ctx) -> str | None:
    """CalcJob's own checks, then the physics; skipped where a WorkChain exposes only some of the ports."""
    message = validate_calc_job(inputs, ctx)
    if message or any(name not in inputs for name in ("structure", "parameters", "carrier")):
        return message
    return faults(inputs)
