"""`LeopoldVaspParser` (`leopold.vasp`): OUTCAR and CONTCAR of a polaron run to nodes and an exit code.

It reads what `leopold_model.vasp` reads and decides nothing about text formats. Of aiida-vasp's parser it
keeps the list of messages VASP prints when it fails; its reading of vasprun.xml costs ten times as much and
has no moments.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from aiida import orm
from aiida.parsers import Parser
from aiida_vasp.parsers.vasp import ParserSettingsConfig
from parsevasp.stream import Stream

from leopold_model.frames import Frame
from leopold_model.vasp.occmatrix import read_occmatrix
from leopold_model.vasp.outcar import read_outcar
from leopold_model.vasp.poscar import read_poscar
from leopold_model.vasp.reduced import REDUCED, read_reduced
from leopold_model.vasp.run import Run, VaspError, frames
from leopold_model.vasp.template import carrier_shells, shells_to_list
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp import adapter
from leopold_workflows.vasp.verdict import MAX_PARTICIPATION, participation, shortest

# a line per electronic iteration and per step, of which long runs print hundreds of thousands
_PROGRESS = re.compile(r"\s*([A-Z]{3}:\s+\d|\d+ (T=|F=)|N\s+E\s)")
IMPOSED_DIGITS = 1e-3  # a patched VASP prints what it imposes, with four decimals


class LeopoldVaspParser(Parser):
    """Outputs `frames`, `carrier`, `structure`, `velocities`, `occupations`, `misc`: of partial runs what is whole."""

    def parse(self, **kwargs):
        """Read the run; the first exit code that applies is returned, outputs are kept whatever it is."""
        self._temporary = kwargs.get("retrieved_temporary_folder")
        notifications = self._notifications()
        try:
            run = self._run()
            steps = self._frames(run) if run.complete_steps else []
        except FileNotFoundError:
            problem = self._last_words()
            return self._critical(notifications) or self.exit_codes.ERROR_OUTPUT_MISSING.format(problem=problem)
        except ValueError as error:
            return self._critical(notifications) or self.exit_codes.ERROR_OUTPUT_UNREADABLE.format(problem=error)
        self.out("misc", orm.Dict(self._misc(run, steps, notifications)))
        if not steps:
            problem = "; ".join([*run.problems, self._last_words()])
            return self._critical(notifications) or self.exit_codes.ERROR_NO_COMPLETE_STEP.format(problem=problem)
        self.out("frames", FrameSetData.from_frames(steps))
        self._last_structure(steps)
        if not self._delocalised:
            self.out("carrier", orm.Dict(self._carrier(run, steps)))
            self._occupations(run, steps[-1])
        return self._verdict(run, steps, notifications)

    # ------------------------------------------------------------------------------------------------------- exit code

    def _verdict(self, run: Run, steps: list[Frame], notifications: list[dict]):
        if self._incar("occext", 0) and not self._imposed(run):
            return self.exit_codes.ERROR_OCCUPATIONS_NOT_IMPOSED
        critical = self._critical(notifications)
        if critical:
            return critical
        asked = max(self._incar("nsw", 0), 1)
        relaxing = self._incar("nsw", 0) > 0 and self._incar("ibrion", -1) in (1, 2, 3)
        done = len(run.complete_steps)
        if not run.finished or (done < asked and not relaxing):
            return self.exit_codes.ERROR_OUT_OF_WALLTIME.format(done=done, asked=asked)
        if self._moving:
            return None  # each step of dynamics carries its own flag
        if not steps[-1].converged:
            return self.exit_codes.ERROR_ELECTRONIC_NOT_CONVERGED
        if relaxing and done >= asked:
            return self.exit_codes.ERROR_IONIC_NOT_CONVERGED
        return None

    def _imposed(self, run: Run) -> bool:
        """Whether OUTCAR says that the file was found, lists every atom of it, and prints the matrices of it where it
        prints any; the patch's title is no sign."""
        if not (run.occ_banner and run.occ_banner.imposed):
            return False
        with self.node.inputs.occmatrix.as_path() as path:
            wanted = read_occmatrix(path)
        printed = (run.complete_steps[-1].onsite if run.complete_steps else None) or {}
        return set(wanted) <= set(run.occ_banner.atoms) and all(
            np.allclose(ours, theirs, atol=IMPOSED_DIGITS)
            for atom in set(wanted) & set(printed)
            for ours, theirs in zip(wanted[atom][1:], printed[atom][1:], strict=True)
        )

    def _critical(self, notifications: list[dict]):
        """VASP's own fatal messages (not one about a charge it was told to have)."""
        fatal = set(ParserSettingsConfig().critical_notification_errors) - {"brmix", "edddav_zhegv", "eddrmm_zhegv"}
        for item in notifications:
            if item["name"] in fatal:
                return self.exit_codes.ERROR_VASP_CRITICAL_ERROR.format(error_message=item["message"])
        return None

    # --------------------------------------------------------------------------------------------------------- outputs

    def _frames(self, run: Run) -> list[Frame]:
        """Every complete step as a frame of this study; a constrained run is marked so that it never trains a model."""
        inputs = self.node.inputs
        carrier = inputs.carrier.get_dict()
        tags = inputs.tags.get_dict() if "tags" in inputs else {}
        constrained = bool(self._incar("occext", 0))
        source = "omc" if constrained else tags.pop("source", "fpmd" if self._moving else "static")
        settings = adapter.settings_hash(
            inputs.structure, inputs.parameters.get_dict(), dict(inputs.potential), inputs.kpoints
        )
        n_carriers = 0 if self._delocalised else carrier["n"]
        steps = frames(
            run, carrier=carrier["kind"], n_carriers=n_carriers, run_name=tags.pop("run", self.node.uuid),
            source=source, settings=settings,
        )  # fmt: skip
        tags.pop("source", None)
        tags["requested_sites"] = tuple(tags.get("requested_sites", ()))
        return [replace(step, **tags) for step in steps]

    def _carrier(self, run: Run, steps: list[Frame]) -> dict:
        carrier = self.node.inputs.carrier.get_dict()
        spread = [participation(step, carrier["species"], carrier["n"]) for step in steps]
        last = steps[-1]
        of_cell = next(step.cell_moment for step in run.complete_steps if step.index == last.step)
        return {
            "kind": carrier["kind"],
            "sites": list(last.carrier_sites),
            "moment": float(min(last.moments[list(last.carrier_sites)])),
            "participation": min(spread[-1], float(len(last))),
            "moments": [round(float(m), 4) for m in last.moments],
            "cell_moment": None if of_cell is None else abs(of_cell),
            "sites_seen": sorted({site for step in steps for site in step.carrier_sites}),
            "localised_fraction": float(np.mean(np.array(spread) <= MAX_PARTICIPATION)),
            "n_steps": len(steps),
            "n_converged": sum(step.converged for step in steps),
        }

    def _misc(self, run: Run, steps: list[Frame], notifications: list[dict]) -> dict:
        return {
            "version": run.version,
            "finished": run.finished,
            "n_steps": len(run.complete_steps),
            "n_frames": len(steps),
            "n_converged": sum(step.converged for step in steps),
            "energy": steps[-1].energy if steps else None,
            "max_force": float(np.abs(steps[-1].forces).max()) if steps else None,
            "problems": list(run.problems),
            "notifications": notifications,
        }

    def _last_structure(self, steps: list[Frame]) -> None:
        """The structure a next run goes on from, and in dynamics its velocities.

        From CONTCAR, which has all digits, where it belongs to the last complete step; else from the last two
        steps.
        """
        positions, cell, velocities = self._contcar(steps[-1])
        if positions is None:
            positions, cell, velocities = steps[-1].positions, steps[-1].cell, self._velocities_from(steps)
        atoms = self.node.inputs.structure.get_ase()
        atoms.set_cell(cell)
        atoms.set_positions(positions)
        self.out("structure", orm.StructureData(ase=atoms))
        if self._moving and velocities is not None:
            self.out("velocities", orm.ArrayData({"velocities": np.asarray(velocities)}))

    def _occupations(self, run: Run, last: Frame) -> None:
        """The carrier's own occupations, where they are those of a state that other sites may be given."""
        step = run.complete_steps[-1]
        if self._moving or self._incar("occext", 0) or last.step != step.index:
            return
        try:
            shells = carrier_shells(run, step, last.carrier_sites)
        except VaspError:
            return  # not converged, or no onsite matrices printed for that species
        if shells:
            self.out("occupations", orm.Dict({"shells": shells_to_list(shells)}))

    def _contcar(self, last: Frame):
        """Positions, cell and velocities of CONTCAR, all None where it is absent, cut or of another step."""
        try:
            with self._file("CONTCAR") as path:
                atoms, velocities = read_poscar(path)
        except (OSError, ValueError):
            return None, None, None
        if len(atoms) != len(last) or (self._moving and velocities is None):
            return None, None, None
        moved = shortest(atoms.positions - last.positions, last.cell)
        if not self._one_move(moved, velocities):
            return None, None, None
        return last.positions + moved, atoms.cell.array, velocities

    def _one_move(self, moved: np.ndarray, velocities: np.ndarray | None) -> bool:
        """Whether `moved` (n, 3) is no move at all or the single one that `velocities` make in a step of dynamics.

        A file written later than the last step that OUTCAR kept would silently skip the steps between.
        """
        if not self._moving or np.abs(moved).max() < 1e-3:
            return np.abs(moved).max() < 0.5
        step = velocities * self._incar("potim", 0.5)
        return bool(np.abs(moved - step).max() < 1e-3 + 0.3 * np.abs(step).max())

    def _velocities_from(self, steps: list[Frame]) -> np.ndarray | None:
        if len(steps) < 2:
            return None
        moved = shortest(steps[-1].positions - steps[-2].positions, steps[-1].cell)
        return moved / (self._incar("potim", 0.5) * (steps[-1].step - steps[-2].step))

    # ---------------------------------------------------------------------------------------------------------- inputs

    def _run(self) -> Run:
        """The run, from what the job reduced OUTCAR to, or from OUTCAR."""
        if self._temporary and (Path(self._temporary) / REDUCED).is_file():
            return read_reduced(Path(self._temporary) / REDUCED)
        with self._file("OUTCAR") as path:
            return read_outcar(path)

    @contextmanager
    def _file(self, name: str) -> Iterator[Path]:
        """Path of a retrieved file: OUTCARs of dynamics are at hand only while they are parsed."""
        if self._temporary and (Path(self._temporary) / name).is_file():
            yield Path(self._temporary) / name
        else:
            with self.retrieved.base.repository.as_path(name) as path:
                yield path

    @property
    def _delocalised(self) -> bool:
        return bool(self.node.inputs.carrier.get_dict().get("delocalised"))

    @property
    def _moving(self) -> bool:
        return self._incar("ibrion", -1) == 0 and self._incar("nsw", 0) > 0

    def _incar(self, tag: str, default):
        return adapter.lower(self.node.inputs.parameters.get_dict()).get(tag, default)

    def _notifications(self) -> list[dict]:
        messages = "".join(line for line in self._printed().splitlines(keepends=True) if not _PROGRESS.match(line))
        stream = _Messages(file_handler=io.StringIO(messages), logger=self.logger)
        return [{"name": m.shortname, "kind": m.kind, "message": m.message} for m in stream.entries]

    def _last_words(self) -> str:
        """The last line on standard output or error."""
        lines = self._printed().split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")

    def _printed(self) -> str:
        """Standard output and error, which a run that was killed may have left with anything in it."""
        try:
            printed = self.retrieved.base.repository.get_object_content("vasp_output", "rb")
        except OSError:
            return ""
        return printed.decode(errors="replace").replace("\0", "")


class _Messages(Stream):
    """parsevasp's list of VASP's messages, read from its file once per process instead of once per run."""

    known: dict = {}  # noqa: RUF012 (filled once, never changed)

    def _load_config_from_file(self):
        if not _Messages.known:
            _Messages.known = super()._load_config_from_file()
        return dict(_Messages.known)
