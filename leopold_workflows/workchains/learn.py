"""`LearnWorkChain` (`leopold.learn`): the heart. Train, explore, label what is new, until nothing new comes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ToContext, WorkChain, if_, while_

from leopold_model.config import parse
from leopold_workflows.calculations import functions as f
from leopold_workflows.calculations import functions_hops as hops
from leopold_workflows.calculations import functions_learn as learn
from leopold_workflows.calculations.evaluate import EvaluateCalculation
from leopold_workflows.calculations.job import species_message
from leopold_workflows.calculations.train import TrainCalculation
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.model import ModelData
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.queries import node_hours
from leopold_workflows.settings import LearnSettings, checked_by
from leopold_workflows.vasp.doping import arrangement_faults, compositions, start_faults
from leopold_workflows.vasp.validation import level_fault
from leopold_workflows.workchains.explore import TOO_UNSTABLE, ExploreWorkChain, explore_inputs
from leopold_workflows.workchains.label import label_faults, label_settings
from leopold_workflows.workchains.label_frames import LabelFramesWorkChain, label_frames_inputs
from leopold_workflows.workchains.train import TrainBaseWorkChain, train_inputs

# inputs of a training that a round decides
DECIDED_HERE = ("frames", "validation", "test", "initial_model", "restart_folder")
LABELS_USABLE = (0, 412)  # 412: no label was verified, which is knowledge about the model
# outputs made of what every round recorded under that name, and the function that makes them
GATHERED = {
    "convergence": learn.gather_convergence,
    "learning_curve": learn.gather_learning_curve,
    "label_outcomes": learn.gather_label_outcomes,
    "selected": f.merge_frames,
    "labels": f.merge_frames,
    "rejected": f.merge_frames,
}


class LearnWorkChain(WorkChain):
    """Learn the dynamics of the carrier until no new symmetry-inequivalent pathway appears.

    A round: train on all frames so far (from the newest model on); explore; count hops by pathway. A class that was
    seen but has fewer than `min_verified` verified labels is new: frames across some of its hops go to VASP, carrier
    imposed where the model had it, and come back as training frames if it stayed. Part of the labelled hops is never
    trained on and measures the error across hops. A class settled once needs no further label. Where a guard stopped a
    replica, frames from before it are labelled too. Without new labels the model stays, and the next exploration, with
    another seed, adds to the same statistics.

    Learning stops when every criterion of `settings` holds, or with 601, 602 or 603 when rounds or labels are
    used up. Whatever happens, the outputs made so far are attached, each of them a valid input of the next
    LearnWorkChain.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("frames", valid_type=FrameSetData, help="Labelled frames to begin with.")
        spec.input("host", valid_type=orm.StructureData, help="The perfect crystal, in the orientation of the frames.")
        for name, kind, text in (
            ("test", FrameSetData, "A held-out run, never trained on."),
            ("starts", FrameSetData, "Starts of dynamics; default: from `frames`."),
            ("model", ModelData, "Model to begin with: round 1 does not train."),
            ("catalogue", PathwaySetData, "Labels known before, from another loop."),
            ("holdout", FrameSetData, "Hop frames held out by another loop."),
        ):
            spec.input(name, valid_type=kind, required=False, help=text)
        spec.input(
            "settings",
            valid_type=orm.Dict,
            validator=checked_by(LearnSettings, "settings"),
            help="Selection of hop frames, criteria, budgets: see LearnSettings.",
        )
        spec.input(
            "retraining",
            valid_type=orm.Dict,
            default=lambda: orm.Dict({}),
            validator=TrainCalculation.check_parameters,
            help="Changes to the training parameters when training goes on from a model.",
        )
        spec.input("seed", valid_type=orm.Int, help="Seed of every choice; each round derives its own from it.")
        spec.expose_inputs(
            TrainBaseWorkChain,
            namespace="train",
            exclude=(*(f"training.{name}" for name in DECIDED_HERE), "clean_workdir"),
        )
        spec.expose_inputs(
            ExploreWorkChain,
            namespace="explore",
            exclude=("model", "frames", "host", "seed", "run", "dynamics.md.restart_folder"),
        )
        spec.expose_inputs(LabelFramesWorkChain, namespace="label", exclude=("frames",))
        spec.expose_inputs(EvaluateCalculation, namespace="evaluate", exclude=("model", "frames"))
        spec.inputs.validator = validate_inputs
        spec.outline(
            cls.setup,
            while_(cls.should_run_iteration)(
                cls.run_training,
                cls.inspect_training,
                cls.run_exploration,
                cls.inspect_exploration,
                cls.update_catalogue,
                if_(cls.needs_labels)(
                    cls.select_frames,
                    cls.run_labelling,
                    cls.inspect_labelling,
                    cls.run_evaluation,
                    cls.inspect_evaluation,
                    cls.merge_frames,
                ),
                cls.check_convergence,
            ),
            cls.results,
        )
        for name, kind, text in (
            ("model", ModelData, "The newest model."),
            ("frames", FrameSetData, "All training frames."),
            ("holdout", FrameSetData, "Labelled hop frames never trained on."),
            ("selected", FrameSetData, "Hop frames sent to VASP, with the model's moments; ids: `label` of `labels`."),
            ("labels", FrameSetData, "All verified labels of hop frames."),
            ("rejected", FrameSetData, "What missed labels reached."),
            ("catalogue", PathwaySetData, "Pathways, hops and labels."),
            ("convergence", orm.Dict, "Every criterion of every round."),
            ("learning_curve", orm.Dict, "Errors of every round."),
            ("label_outcomes", orm.Dict, "Outcomes of all labels."),
        ):
            spec.output(name, valid_type=kind, required=False, help=text)
        for status, stage in ((404, "train"), (405, "explore"), (406, "label"), (407, "evaluate")):
            message = f"the stage {stage} failed in round {{round}} with exit status {{status}}"
            spec.exit_code(status, f"ERROR_SUB_PROCESS_{stage.upper()}", message=message)
        spec.exit_code(
            411,
            "ERROR_LABEL_QUORUM_NOT_MET",
            message="too few labels of round {round} were answered; those that were are in the outputs",
        )
        for status, name in (
            (601, "ERROR_PATHWAYS_NOT_CONVERGED"),
            (602, "ERROR_TOO_FEW_HOPS"),
            (603, "ERROR_BUDGET_EXHAUSTED"),
        ):
            message = "not met after {round} rounds, {labels} labels and {hours:.3g} node-hours: {failing}; {next_step}"
            spec.exit_code(status, name, message=message)

    @classmethod
    def get_builder_from_protocol(
        cls, code_vasp, code_leopold, frames, *, material, protocol=None, overrides=None, potential_family=None,
        options=None,
    ):  # fmt: skip
        """A builder that learns from `frames`. `overrides` has one mapping per protocol name ('learn',
        'train', ...)."""
        from leopold_workflows.vasp.study import elements_of, study

        shared = study(
            code_vasp, material_name=material, level=protocol, overrides=overrides, potential_family=potential_family,
            options=options, also=elements_of(frames),
        )  # fmt: skip
        builder = cls.get_builder()
        for name, value in learn_inputs(shared, code_leopold).items():
            builder[name] = value
        builder.frames, builder.host = frames, shared.structure
        return builder

    # ---------------------------------------------------------------------------------------------------------- rounds

    def setup(self):
        """Begin with what is given."""
        self.ctx.round = 0
        self.ctx.frames = self.inputs.frames
        self.ctx.model = self.inputs.get("model")
        self.ctx.catalogue = self.inputs.get("catalogue")
        self.ctx.holdout = self.inputs.get("holdout")
        self.ctx.needs_training = self.ctx.model is None
        self.ctx.same_model = False
        self.ctx.n_labels = self.ctx.n_asked = 0
        self.ctx.state = "continue"
        self.ctx.hop_errors = None
        self.ctx.records = AttributeDict({port: AttributeDict() for port in GATHERED})

    def should_run_iteration(self):
        """Whether learning goes on: neither converged nor out of budget or rounds."""
        return self.ctx.state == "continue" and self.ctx.round < self._settings.max_rounds

    def run_training(self):
        """Train on all frames so far, from the newest model on; nothing to do when no frame came in."""
        self.ctx.round += 1
        self.ctx.n_asked = 0
        if not self.ctx.needs_training:
            return None
        inputs = AttributeDict(self.exposed_inputs(TrainBaseWorkChain, "train"))
        inputs.training.frames = self.ctx.frames
        if "test" in self.inputs:
            inputs.training.test = self.inputs.test
        if self.ctx.model is not None:
            inputs.training.initial_model = self.ctx.model
            inputs.training.parameters = f.updated(inputs.training.parameters, self.inputs.retraining)
        return ToContext(training=self._submit(TrainBaseWorkChain, inputs, "train"))

    def inspect_training(self):
        """Take the model."""
        if not self.ctx.needs_training:
            return None
        node = self.ctx.training
        if not node.is_finished_ok:
            return self._failed(self.exit_codes.ERROR_SUB_PROCESS_TRAIN, node)
        self.ctx.model = node.outputs.model
        self._record("learning_curve", "training", node.outputs.results)
        self.ctx.needs_training, self.ctx.same_model = False, False
        return None

    def run_exploration(self):
        """Learned dynamics; beside it, once per model, its errors on the hop frames it never saw."""
        seed = f.seed_of_round(self.inputs.seed, orm.Int(self.ctx.round))
        inputs = AttributeDict(self.exposed_inputs(ExploreWorkChain, "explore"))
        inputs.update(
            model=self.ctx.model,
            frames=self.inputs.get("starts", self.ctx.frames),
            host=self.inputs.host,
            seed=seed,
            run=orm.Str(self._run),
        )
        self.ctx.seed = seed
        self.to_context(exploration=self._submit(ExploreWorkChain, inputs, "explore"))
        if self.ctx.holdout is not None and not self.ctx.same_model:
            self.to_context(holdout_evaluation=self._evaluate(self.ctx.holdout, "holdout"))

    def inspect_exploration(self):
        """Check that both ended well. Dynamics that guards stopped too early is what labels are for."""
        node = self.ctx.exploration
        if not node.is_finished_ok and not (node.exit_status == TOO_UNSTABLE and self._stopped):
            return self._failed(self.exit_codes.ERROR_SUB_PROCESS_EXPLORE, node)
        if self.ctx.holdout is not None and not self.ctx.same_model:
            evaluation = self.ctx.holdout_evaluation
            if not evaluation.is_finished_ok:
                return self._failed(self.exit_codes.ERROR_SUB_PROCESS_EVALUATE, evaluation)
            self.ctx.hop_errors = learn.hop_frame_errors(evaluation.outputs.results)
            self._record("learning_curve", "holdout", self.ctx.hop_errors)
        return None

    def update_catalogue(self):
        """Add the hops of this exploration."""
        explored = self.ctx.exploration.outputs.catalogue
        if self.ctx.catalogue is None:
            self.ctx.catalogue = explored
        else:
            self.ctx.catalogue = hops.update_catalogue(explored, self.ctx.catalogue, orm.Bool(self.ctx.same_model))
        self.ctx.same_model = True
        self.report(f"round {self.ctx.round}: {self.ctx.catalogue.catalogue['summary']}")

    def needs_labels(self):
        """Whether a class that was seen lacks verified labels or a guard stopped the dynamics, and labels may still be
        asked for."""
        return bool(self._lacking or self._stopped) and self.ctx.n_labels < self._settings.max_labels

    def select_frames(self):
        """Choose frames across hops of those classes, and from before those stops."""
        self.ctx.selected = hops.select_hop_frames(
            self.ctx.exploration.outputs.track,
            self.ctx.catalogue,
            self.inputs.settings,
            orm.Int(self._settings.max_labels - self.ctx.n_labels),
            orm.Str(self._run),
            self.ctx.seed,
        )
        wanted = [*self._lacking, *([f"{self._stopped} stopped replicas"] if self._stopped else [])]
        self.report(f"round {self.ctx.round}: {len(self.ctx.selected)} frames of {', '.join(wanted)} to label")

    def run_labelling(self):
        """Send them to VASP, the carrier imposed and released."""
        if not len(self.ctx.selected):
            return None
        self.ctx.n_asked = len(self.ctx.selected)
        self.ctx.n_labels += self.ctx.n_asked
        inputs = AttributeDict(self.exposed_inputs(LabelFramesWorkChain, "label"))
        inputs.frames = self.ctx.selected
        return ToContext(labelling=self._submit(LabelFramesWorkChain, inputs, "label"))

    def inspect_labelling(self):
        """Record every outcome, the misses too."""
        if not len(self.ctx.selected):
            return None
        node = self.ctx.labelling
        if "outcomes" not in node.outputs:
            return self._failed(self.exit_codes.ERROR_SUB_PROCESS_LABEL, node)
        outputs = node.outputs
        self.ctx.catalogue = hops.record_labels(self.ctx.catalogue, self.ctx.selected, outputs.outcomes)
        self._record("label_outcomes", "labels", outputs.outcomes)
        self._record("selected", "selected", self.ctx.selected)
        self._record("labels", "verified", outputs.frames)
        self._record("rejected", "rejected", outputs.rejected)
        if node.exit_status not in LABELS_USABLE:
            return self._failed(self.exit_codes.ERROR_LABEL_QUORUM_NOT_MET, node)
        return None

    def run_evaluation(self):
        """Errors of this round's model on the labels it asked for, before it is trained on any."""
        if not self._has_labels:
            return None
        return ToContext(evaluation=self._evaluate(self.ctx.labelling.outputs.frames, "new_labels"))

    def inspect_evaluation(self):
        """Keep them, pathway by pathway."""
        if not self._has_labels:
            return None
        node = self.ctx.evaluation
        if not node.is_finished_ok:
            return self._failed(self.exit_codes.ERROR_SUB_PROCESS_EVALUATE, node)
        errors = learn.hop_frame_errors(node.outputs.results)
        self._record("learning_curve", "new_labels", errors)
        if self.ctx.holdout is None:
            self.ctx.hop_errors = errors
        return None

    def merge_frames(self):
        """Add the verified labels to the training frames, some hops held out."""
        if not self._has_labels:
            return
        fraction = orm.Float(self._settings.selection.holdout)
        parts = f.split_by_run(self.ctx.labelling.outputs.frames, fraction, self.ctx.seed)
        self.ctx.frames = f.merge_frames(frames=self.ctx.frames, labels=parts["training"])
        self.ctx.needs_training = True
        if len(parts["holdout"]):
            earlier = {} if self.ctx.holdout is None else {"holdout": self.ctx.holdout}
            self.ctx.holdout = f.merge_frames(labels=parts["holdout"], **earlier)

    def check_convergence(self):
        """Hold the round against every criterion and the budget."""
        given = {"previous": self.ctx.assessment} if "assessment" in self.ctx else {}
        if self.ctx.hop_errors is not None:
            given["hop_errors"] = self.ctx.hop_errors
        self.ctx.spent = {
            "asked": self.ctx.n_asked,
            "labels": self.ctx.n_labels,
            "node_hours": node_hours(self.node),
            "untrained": self.ctx.needs_training,
        }
        self.ctx.assessment = learn.assess(
            self.ctx.catalogue, self.inputs.settings, orm.Int(self.ctx.round), orm.Dict(self.ctx.spent), **given
        )
        self._record("convergence", "assessment", self.ctx.assessment)
        self.ctx.state = self.ctx.assessment["state"]
        failing = self.ctx.assessment["failing"]
        self.report(
            f"round {self.ctx.round}: " + (f"not met: {', '.join(failing)}" if failing else "all criteria hold")
        )

    def results(self):
        """Attach what was learned; say why learning stopped if it did not converge, and what to do."""
        self._attach()
        if self.ctx.state == "converged":
            return None
        failing, next_step = (self.ctx.assessment[key] for key in ("failing", "next_step"))
        if self.ctx.state == "continue" and "hops" not in failing:
            next_step = f"raise max_rounds, then {next_step}"
        # without hops nothing else can be told, and with rounds left it is the budget that ran out
        name = "ERROR_BUDGET_EXHAUSTED" if self.ctx.state == "budget_exhausted" else "ERROR_PATHWAYS_NOT_CONVERGED"
        return self.exit_codes["ERROR_TOO_FEW_HOPS" if "hops" in failing else name].format(
            round=self.ctx.round,
            labels=self.ctx.n_labels,
            hours=self.ctx.spent["node_hours"],
            failing=", ".join(failing) or "training on the last labels",
            next_step=next_step,
        )

    # --------------------------------------------------------------------------------------------------------- details

    @property
    def _settings(self) -> LearnSettings:
        return parse(self.inputs.settings.get_dict(), LearnSettings)

    @property
    def _run(self) -> str:
        return f"explore-{self.ctx.round:02d}"

    @property
    def _lacking(self) -> list[str]:
        return [p["name"] for p in hops.in_need(self.ctx.catalogue.pathways, self._settings.selection)]

    @property
    def _stopped(self) -> int:
        """How many replicas of this exploration ended with frames to label, because a guard stopped them."""
        outputs = self.ctx.exploration.outputs
        replicas = outputs.results["replicas"] if "results" in outputs else []
        return sum(r["status"] == "unstable" for r in replicas) if self._settings.selection.before_stop else 0

    @property
    def _has_labels(self) -> bool:
        """Whether this round brought verified labels."""
        return bool(len(self.ctx.selected)) and bool(len(self.ctx.labelling.outputs.frames))

    def _name(self, part: str) -> str:
        return f"round_{self.ctx.round:02d}_{part}"

    def _record(self, port: str, part: str, node: orm.Data):
        """Keep what this round adds to the output `port`; `part` names it in the gathering function."""
        self.ctx.records[port][self._name(part)] = node

    def _submit(self, process, inputs: AttributeDict, stage: str):
        inputs.metadata = {**inputs.get("metadata", {}), "call_link_label": self._name(stage)}
        return self.submit(process, **inputs)

    def _evaluate(self, frames: FrameSetData, part: str):
        inputs = AttributeDict(self.exposed_inputs(EvaluateCalculation, "evaluate"))
        inputs.model, inputs.frames = self.ctx.model, frames
        return self._submit(EvaluateCalculation, inputs, f"evaluate_{part}")

    def _failed(self, exit_code, node):
        """Attach everything made so far before ending with `exit_code`."""
        self._attach()
        return exit_code.format(round=self.ctx.round, status=node.exit_status)

    def _attach(self):
        self.out("frames", self.ctx.frames)
        for port in ("model", "catalogue", "holdout"):
            if self.ctx[port] is not None:
                self.out(port, self.ctx[port])
        for port, parts in self.ctx.records.items():
            if parts:
                self.out(port, GATHERED[port](**parts))


def learn_inputs(shared, code: orm.AbstractCode) -> dict:
    """Inputs of this WorkChain that do not depend on frames, from a study's protocols and the `leopold` code."""
    settings = shared.protocol("learn")
    seed, retraining = settings.pop("seed"), settings.pop("retraining")
    training = train_inputs(shared.protocol("train"), code)
    return {
        "settings": orm.Dict(settings),
        "seed": orm.Int(seed),
        "retraining": orm.Dict(retraining),
        "train": training,
        "explore": explore_inputs(shared.protocol("explore"), shared.material, code),
        "label": label_frames_inputs(shared),
        "evaluate": {"code": code, "metadata": {"options": training["training"]["metadata"]["options"]}},
    }


def validate_inputs(inputs, _) -> str | None:
    """Why these inputs cannot be used; None where they can."""
    if "frames" in inputs:
        if inputs["frames"].n_frames == 0:
            return "frames: no frame: give the labelled frames of a seed, or of any import"
        if inputs["frames"].base.attributes.get("n_carriers") == 0:
            return "frames: no carrier_sites: the model must be told where the carrier sits"
        if "model" in inputs:
            message = species_message(inputs["model"], inputs["frames"])
            if message:
                return message
        starts = "starts" if "starts" in inputs else "frames"
        message = start_faults(inputs[starts])
        if message:
            return f"{starts}: {message}"
    if "frames" in inputs and "host" in inputs and "label" in inputs:
        message = label_faults(inputs["label"], inputs["host"])
        if message:
            return f"label: {message}"
        given = {name: inputs[name] for name in ("frames", "test", "holdout") if name in inputs}
        return mixed_frames(inputs["label"], inputs["host"], given)
    return None


def mixed_frames(label, host: orm.StructureData, given: Mapping[str, FrameSetData]) -> str | None:
    """Why the frames `given` and labels made of `label` (after `label_faults`) could not be learned from together;
    None if they can: all are the `host` with substitutions and vacancies, at one level of theory."""
    for name, frames in given.items():
        message = arrangement_faults(frames, host, label["carrier"]) or _level_fault(label, frames)
        if message:
            return f"{name}: {message}"
    return None


def _level_fault(label, frames: FrameSetData) -> str | None:
    """The level of theory of a label depends on the elements that are there, through their POTCARs and U."""
    found = frames.get_frames()
    for first in compositions(frames):
        structure = orm.StructureData(ase=first.to_atoms())
        message = label_faults(label, structure)
        if not message:
            settings = {f.settings for f in found if np.array_equal(f.numbers, first.numbers)}
            message = level_fault(settings, label_settings(label, structure))
        if message:
            return message
    return None
