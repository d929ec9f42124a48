"""Calcfunction that takes runs made elsewhere over into a study."""

from __future__ import annotations

from dataclasses import replace

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from leopold_model.frames import Frame, carrier_sites, read_frames
from leopold_model.vasp.run import localised_sites
from leopold_workflows.calculations.functions_vasp import thinned
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp.old_run import FRAMES


@calcfunction
def adopt_runs(
    stride: orm.Int, carrier: orm.Dict | None = None, settings: orm.Str | None = None, **runs: orm.FolderData
) -> FrameSetData:
    """Every `stride`-th converged step of `runs` (see `vasp.old_run`), and every one around a move of the carrier.

    `carrier`, `{kind, n}`, sits on the atoms with the largest moments; without it, it is what the files say. `settings`
    is the hash of the level of theory that the user vouches for, in place of the one in the files. A run whose carrier
    is spread out in most steps is refused: the atom it would be put on means nothing.
    """
    adopted: list[Frame] = []
    for name in sorted(runs):
        told = runs[name].base.attributes.all
        with runs[name].base.repository.as_path(FRAMES) as path:
            steps = read_frames(path)
        kind = carrier.get_dict() if carrier is not None else told.get("carrier")
        if kind is not None:
            steps = [_carrying(step, **kind) for step in steps if step.spin_moments is not None]
        mark = settings.value if settings is not None else told["settings"]
        steps = [replace(step, settings=mark or step.settings) for step in steps if step.carrier_sites]
        for run in dict.fromkeys(step.run for step in steps):
            whole = [step for step in steps if step.run == run]
            spread = sum(localised_sites(s.spin_moments, len(s.carrier_sites)) != s.carrier_sites for s in whole)
            if spread > 0.5 * len(whole):
                return ExitCode(501, f"run {run}: the carrier is spread out in {spread} of {len(whole)} steps")
            adopted += thinned(whole, stride.value, moves=True)
    if not adopted:
        return ExitCode(311, "no converged step with a carrier: say --carrier electron or hole, and --carriers N")
    return FrameSetData.from_frames(adopted)


def _carrying(step: Frame, kind: str, n: int) -> Frame:
    moments = step.moments if step.moments is not None else step.spin_moments
    return replace(step, carrier=kind, carrier_sites=carrier_sites(moments, n))
