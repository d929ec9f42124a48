"""`LabelFramesWorkChain` (`leopold.label.frames`): many frames to VASP, a few at a time."""

from __future__ import annotations

from aiida import orm
from aiida.engine import WorkChain, while_

from leopold_workflows.calculations.functions import merge_frames
from leopold_workflows.calculations.functions_vasp import gather_outcomes
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp.study import elements_of, study
from leopold_workflows.workchains.ended import reason
from leopold_workflows.workchains.label import LabelWorkChain, label_faults, label_inputs


class LabelFramesWorkChain(WorkChain):
    """A `LabelWorkChain` for every frame of `frames`, at most `max_concurrent` at a time; results keyed by frame id.

    A label is answered when VASP gave a converged state, be it the one asked for or not: that a carrier moves
    or spreads is physics. Labels that failed or did not converge are not. When fewer than `quorum` of all are
    answered, or not one is verified, the WorkChain ends with an exit code, its outputs complete all the same.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.expose_inputs(LabelWorkChain, exclude=("frame", "frames"))
        spec.input("frames", valid_type=FrameSetData, validator=_not_empty, help="Frames to label.")
        spec.input("max_concurrent", valid_type=orm.Int, default=lambda: orm.Int(8), help="Labels at a time.")
        spec.input("quorum", valid_type=orm.Float, default=lambda: orm.Float(0.8), help="Least fraction answered.")
        spec.inputs.validator = _validate
        spec.outline(
            cls.setup,
            while_(cls.frames_remain)(
                cls.run_labels,
                cls.inspect_labels,
            ),
            cls.results,
            cls.check_quorum,
        )
        spec.output("frames", valid_type=FrameSetData, help="Verified frames (possibly none).")
        spec.output("rejected", valid_type=FrameSetData, help="Frames reached by labels that missed (possibly none).")
        spec.output(
            "outcomes", valid_type=orm.Dict, help="`counts` by outcome, `total`, and `labels` keyed by frame id."
        )
        spec.exit_code(
            411,
            "ERROR_LABEL_QUORUM_NOT_MET",
            message="{answered} of {total} labels were answered, fewer than the quorum; all outputs are there",
        )
        spec.exit_code(412, "ERROR_NO_LABEL_VERIFIED", message="none of {total} labels was verified; see `outcomes`")

    @classmethod
    def get_builder_from_protocol(
        cls, code, frames, *, material, protocol=None, overrides=None, potential_family=None, options=None
    ):
        """A builder that labels all of `frames` at the level of theory of that protocol."""
        structure = orm.StructureData(ase=frames.get_frames()[0].to_atoms())
        shared = study(
            code, material_name=material, structure=structure, level=protocol, overrides=overrides,
            potential_family=potential_family, options=options, also=elements_of(frames),
        )  # fmt: skip
        builder = cls.get_builder()
        for name, value in label_frames_inputs(shared).items():
            builder[name] = value
        builder.frames = frames
        return builder

    def setup(self):
        """List the ids of what is to be done."""
        self.ctx.waiting = sorted({frame.id for frame in self.inputs.frames.get_frames()})
        self.ctx.running = []
        self.ctx.failed = {}

    def frames_remain(self):
        """Whether any frame has not been submitted."""
        return bool(self.ctx.waiting)

    def run_labels(self):
        """Submit the next few."""
        n = self.inputs.max_concurrent.value
        self.ctx.running, self.ctx.waiting = self.ctx.waiting[:n], self.ctx.waiting[n:]
        shared = self.exposed_inputs(LabelWorkChain)
        for frame in list(self.ctx.running):
            try:
                label = self.submit(LabelWorkChain, frames=self.inputs.frames, frame=orm.Str(frame), **shared)
            except ValueError as error:
                # a carrier on an atom that cannot take one, for instance: the other frames can still be labelled
                self.report(f"frame {frame} was refused: {error}")
                self.ctx.failed[frame] = None
                self.ctx.running.remove(frame)
                continue
            self.to_context(**{_key(frame): label})

    def inspect_labels(self):
        """Note those that gave no verdict."""
        for frame in self.ctx.running:
            label = self.ctx[_key(frame)]
            if "verdict" not in label.outputs:
                self.ctx.failed[frame] = label.exit_status
                self.report(f"LabelWorkChain<{label.pk}> of frame {frame} failed: {reason(label)}")

    def results(self):
        """Gather verdicts, verified frames and misses."""
        ids = {frame.id for frame in self.inputs.frames.get_frames()}
        labels = {_key(frame): self.ctx[_key(frame)] for frame in sorted(ids) if _key(frame) in self.ctx}
        for name, port in (("frames", "frames"), ("rejected", "reached")):
            found = {key: label.outputs[port] for key, label in labels.items() if port in label.outputs}
            self.out(name, merge_frames(**found))
        verdicts = {key: label.outputs.verdict for key, label in labels.items() if "verdict" in label.outputs}
        outcomes = gather_outcomes(failed=orm.Dict(self.ctx.failed), **verdicts)
        self.out("outcomes", outcomes)
        self.report(", ".join(f"{count} {name}" for name, count in outcomes["counts"].items() if count))

    def check_quorum(self):
        """End with what the outcomes amount to."""
        counts, total = self.outputs["outcomes"]["counts"], self.outputs["outcomes"]["total"]
        answered = total - counts["failed"] - counts["not_converged"]
        if answered < self.inputs.quorum.value * total:
            return self.exit_codes.ERROR_LABEL_QUORUM_NOT_MET.format(answered=answered, total=total)
        if not counts["verified"]:
            return self.exit_codes.ERROR_NO_LABEL_VERIFIED.format(total=total)
        return None


def label_frames_inputs(shared) -> dict:
    """Inputs of this WorkChain that do not depend on the frames."""
    inputs = shared.protocol("label")
    return {
        **label_inputs(shared),
        "max_concurrent": orm.Int(inputs["max_concurrent"]),
        "quorum": orm.Float(inputs["quorum"]),
    }


def _key(frame: str) -> str:
    return f"label_{frame}"


def _validate(inputs, _) -> str | None:
    if "frames" not in inputs:
        return None  # exposed elsewhere without them
    frames = inputs["frames"].get_frames()
    for frame in {tuple(f.numbers): f for f in frames}.values():
        message = label_faults(inputs, orm.StructureData(ase=frame.to_atoms()))
        if message:
            return message
    for frame in frames:
        if len(frame.carrier_sites) != inputs["carrier"]["n"]:
            return (
                f"frames: frame {frame.id} has {len(frame.carrier_sites)} carrier_sites for {inputs['carrier']['n']} "
                "carriers; set carrier_sites"
            )
    return None


def _not_empty(node, _):
    return None if node is None or node.n_frames else "no frames: give at least one to label"
