"""`LearnPatternsWorkChain` (`leopold.patterns.learn`): label, train, anneal, choose what to label next."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ToContext, WorkChain, if_, while_

from leopold_model.config import ConfigError, parse
from leopold_model.patterns import PatternError
from leopold_model.patterns.composition import random_configuration
from leopold_model.patterns.descriptor import Descriptor
from leopold_model.patterns.settings import PatternTrainConfig
from leopold_workflows.calculations import functions_patterns as f
from leopold_workflows.calculations import functions_patterns_learn as learn
from leopold_workflows.calculations.functions import seed_of_round
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.patterns import PatternLabelsData, PatternModelData
from leopold_workflows.pattern_settings import PatternLearnSettings
from leopold_workflows.settings import checked_by
from leopold_workflows.workchains.ended import reason
from leopold_workflows.workchains.patterns_label import (
    LabelPatternsWorkChain,
    check_lattice,
    label_patterns_faults,
    label_patterns_inputs,
)
from leopold_workflows.workchains.patterns_suggest import SuggestBaseWorkChain
from leopold_workflows.workchains.patterns_train import TrainPatternsBaseWorkChain

LABELS_USABLE = (0, 412)  # 412: nothing suggested could be reached, which is knowledge too
GATHERED = {
    "convergence": learn.gather_pattern_rounds,
    "label_outcomes": learn.gather_pattern_outcomes,
    "learning_curve": learn.gather_pattern_curve,
}


class LearnPatternsWorkChain(WorkChain):
    """Learn the energy of arrangements of defects and carriers in one supercell, where it matters: at the bottom.

    The first round labels random configurations and the lowest by point charges. Every other one labels what the newest
    ensemble suggests: configurations that its anneals pass, that nobody tried, low in predicted energy less `boldness`
    times the disagreement. Then an ensemble is trained on all labels. Learning stops when no lower configuration was
    confirmed for some rounds and the model is right about the ones it suggests; or with 601 or 603 when rounds or
    labels are used up. What was made so far is attached whatever happens; `labels`, `delocalised` and `reference` are
    inputs of the next LearnPatternsWorkChain, which then has no first round.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("lattice", valid_type=orm.SinglefileData, validator=check_lattice, help="The lattice, a YAML file.")
        spec.input("supercell", valid_type=orm.Str, help="Of the labels: a name in the lattice file, or repeats: 6x4.")
        spec.input("counts", valid_type=orm.Dict, help="Number of each species in it, carriers included.")
        spec.input(
            "settings",
            valid_type=orm.Dict,
            validator=checked_by(PatternLearnSettings, "settings"),
            help="First configurations, criteria, budgets: see PatternLearnSettings.",
        )
        spec.input("seed", valid_type=orm.Int, help="Seed of every choice; each round derives its own from it.")
        for name, kind, text in (
            ("labels", PatternLabelsData, "Labels to begin with, of the same reference."),
            ("delocalised", FrameSetData, "Patterns relaxed without spin before."),
            ("reference", orm.Float, "eV that `labels` are relative to."),
        ):
            spec.input(name, valid_type=kind, required=False, help=text)
        spec.expose_inputs(TrainPatternsBaseWorkChain, namespace="train", exclude=("training.labels",))
        own = ("model", "supercell", "counts", "seed", "number", "known", "boldness")
        spec.expose_inputs(SuggestBaseWorkChain, namespace="suggest", exclude=tuple(f"search.{name}" for name in own))
        spec.expose_inputs(
            LabelPatternsWorkChain,
            namespace="label",
            exclude=("lattice", "supercell", "configurations", "delocalised", "reference"),
        )
        spec.inputs.validator = _validate
        spec.outline(
            cls.setup,
            if_(cls.has_labels)(
                cls.run_training,
                cls.inspect_training,
            ),
            while_(cls.should_run_round)(
                cls.begin_round,
                if_(cls.has_model)(
                    cls.run_suggestion,
                    cls.inspect_suggestion,
                ).else_(
                    cls.first_configurations,
                ),
                if_(cls.has_configurations)(
                    cls.run_labelling,
                    cls.inspect_labelling,
                ),
                cls.check_convergence,
                if_(cls.has_configurations)(
                    cls.run_training,
                    cls.inspect_training,
                ),
            ),
            cls.results,
        )
        for name, kind, text in (
            ("model", PatternModelData, "The newest ensemble."),
            ("labels", PatternLabelsData, "All labels, of equivalent ones the lowest."),
            ("delocalised", FrameSetData, "Patterns of defects relaxed without spin."),
            ("reference", orm.Float, "eV that the labels are relative to."),
            ("convergence", orm.Dict, "Every criterion of every round."),
            ("label_outcomes", orm.Dict, "Outcomes of all labels, the rejected ones too."),
            ("learning_curve", orm.Dict, "Errors of every round's model."),
        ):
            spec.output(name, valid_type=kind, required=False, help=text)
        for status, stage in ((404, "train"), (405, "suggest"), (406, "label")):
            message = f"the stage {stage} failed in round {{round}} with exit status {{status}}: {{why}}"
            spec.exit_code(status, f"ERROR_SUB_PROCESS_{stage.upper()}", message=message)
        spec.exit_code(
            411,
            "ERROR_LABEL_QUORUM_NOT_MET",
            message="too few labels of round {round} were answered; those that were are in the outputs",
        )
        for status, name in ((601, "ERROR_PATTERNS_NOT_CONVERGED"), (603, "ERROR_BUDGET_EXHAUSTED")):
            spec.exit_code(
                status, name, message="not met after {round} rounds and {labels} labels: {failing}; {next_step}"
            )

    def setup(self):
        """Begin with what is given."""
        self.ctx.round, self.ctx.n_labels = 0, 0
        self.ctx.model = self.ctx.configurations = None
        for name in ("labels", "delocalised", "reference"):
            self.ctx[name] = self.inputs.get(name)
        self.ctx.state = "continue"
        self.ctx.records = AttributeDict({port: AttributeDict() for port in GATHERED})

    def has_labels(self):
        """Whether there are labels to begin with; they make the first ensemble."""
        return self.ctx.labels is not None

    def should_run_round(self):
        """Whether learning goes on: neither settled nor out of budget or rounds."""
        return self.ctx.state == "continue" and self.ctx.round < self._settings.max_rounds

    def begin_round(self):
        """Count it, and draw its seed."""
        self.ctx.round += 1
        self.ctx.seed = seed_of_round(self.inputs.seed, orm.Int(self.ctx.round))

    def has_model(self):
        """Whether an ensemble can suggest; without labels to begin with, the first round has none."""
        return self.ctx.model is not None

    def first_configurations(self):
        """Random ones, and the lowest by point charges."""
        initial = self._settings.initial.model_dump()
        initial["n"] = min(initial["n"], self._settings.max_labels)
        self.ctx.configurations = f.initial_configurations(
            self.inputs.lattice, self.inputs.supercell, self.inputs.counts, orm.Dict(initial), self.ctx.seed
        )

    def run_suggestion(self):
        """Short anneals with the newest ensemble."""
        inputs = AttributeDict(self.exposed_inputs(SuggestBaseWorkChain, "suggest"))
        left = self._settings.max_labels - self.ctx.n_labels
        inputs.search.update(
            model=self.ctx.model,
            supercell=self.inputs.supercell,
            counts=self.inputs.counts,
            seed=self.ctx.seed,
            number=orm.Int(min(self._settings.per_round, left)),
            known=learn.tried_keys(self.ctx.labels, **self.ctx.records.label_outcomes),
            boldness=orm.Float(self._settings.boldness),
        )
        return ToContext(suggestion=self._submit(SuggestBaseWorkChain, inputs, "suggest"))

    def inspect_suggestion(self):
        """Take the configurations."""
        node = self.ctx.suggestion
        if not node.is_finished_ok:
            return self._failed(self.exit_codes.ERROR_SUB_PROCESS_SUGGEST, node)
        self.ctx.configurations = node.outputs.configurations
        return None

    def has_configurations(self):
        """Whether there is anything that nobody tried."""
        return len(self.ctx.configurations.get_array("occupations")) > 0

    def run_labelling(self):
        """Send them to VASP."""
        inputs = AttributeDict(self.exposed_inputs(LabelPatternsWorkChain, "label"))
        inputs.update(
            lattice=self.inputs.lattice, supercell=self.inputs.supercell, configurations=self.ctx.configurations
        )
        for name in ("delocalised", "reference"):
            if self.ctx[name] is not None:
                inputs[name] = self.ctx[name]
        return ToContext(labelling=self._submit(LabelPatternsWorkChain, inputs, "label"))

    def inspect_labelling(self):
        """Add what was reached to the labels; record every outcome, the misses too."""
        node = self.ctx.labelling
        if "outcomes" not in node.outputs:
            return self._failed(self.exit_codes.ERROR_SUB_PROCESS_LABEL, node)
        found = node.outputs
        self.ctx.n_labels += found.outcomes["total"]
        self._record("label_outcomes", found.outcomes)
        for name in ("delocalised", "reference"):
            self.ctx[name] = found[name]
        given = {} if self.ctx.labels is None else {"before": self.ctx.labels}
        self.ctx.labels = f.merge_labels(**given, found=found.labels) if given else found.labels
        if node.exit_status not in LABELS_USABLE:
            return self._failed(self.exit_codes.ERROR_LABEL_QUORUM_NOT_MET, node)
        return None

    def check_convergence(self):
        """Hold the round against every criterion and the budget."""
        new = self.has_configurations()
        given = {"previous": self.ctx.assessment} if "assessment" in self.ctx else {}
        if new:
            given["outcomes"] = self.ctx.labelling.outputs.outcomes
        self.ctx.assessment = learn.assess_patterns(
            self.ctx.labels, self.inputs.settings, orm.Int(self.ctx.round),
            orm.Dict({"labels": self.ctx.n_labels, "new": new}), **given,
        )  # fmt: skip
        self._record("convergence", self.ctx.assessment)
        self.ctx.state = self.ctx.assessment["state"]
        failing = self.ctx.assessment["failing"]
        self.report(
            f"round {self.ctx.round}: lowest energy {self.ctx.assessment['best_energy_eV']} eV; "
            + (f"not met: {', '.join(failing)}" if failing else "all criteria hold")
        )

    def run_training(self):
        """Train an ensemble on all labels."""
        inputs = AttributeDict(self.exposed_inputs(TrainPatternsBaseWorkChain, "train"))
        inputs.training.labels = self.ctx.labels
        return ToContext(training=self._submit(TrainPatternsBaseWorkChain, inputs, "train"))

    def inspect_training(self):
        """Take the model."""
        node = self.ctx.training
        if not node.is_finished_ok:
            return self._failed(self.exit_codes.ERROR_SUB_PROCESS_TRAIN, node)
        self.ctx.model = node.outputs.model
        self._record("learning_curve", node.outputs.results)
        return None

    def results(self):
        """Attach what was learned; say why learning stopped if it did not settle."""
        self._attach()
        if self.ctx.state == "converged":
            return None
        name = "ERROR_BUDGET_EXHAUSTED" if self.ctx.state == "budget_exhausted" else "ERROR_PATTERNS_NOT_CONVERGED"
        told = self.ctx.assessment
        step = (
            told["next_step"] if self.ctx.state == "budget_exhausted" else f"raise max_rounds, then {told['next_step']}"
        )
        return self.exit_codes[name].format(
            round=self.ctx.round, labels=self.ctx.n_labels, failing=", ".join(told["failing"]), next_step=step
        )

    @property
    def _settings(self) -> PatternLearnSettings:
        return parse(self.inputs.settings.get_dict(), PatternLearnSettings)

    def _record(self, port: str, node: orm.Data):
        self.ctx.records[port][f"round_{self.ctx.round:02d}"] = node

    def _submit(self, process, inputs: AttributeDict, stage: str):
        inputs.metadata = {**inputs.get("metadata", {}), "call_link_label": f"round_{self.ctx.round:02d}_{stage}"}
        return self.submit(process, **inputs)

    def _failed(self, exit_code, node):
        """Attach everything made so far before ending with `exit_code`."""
        self._attach()
        return exit_code.format(round=self.ctx.round, status=node.exit_status, why=reason(node))

    def _attach(self):
        for port in ("model", "labels", "delocalised", "reference"):
            if self.ctx[port] is not None:
                self.out(port, self.ctx[port])
        for port, parts in self.ctx.records.items():
            if parts:
                self.out(port, GATHERED[port](**parts))


def learn_patterns_inputs(shared, code: orm.AbstractCode, settings: Mapping) -> dict:
    """Inputs of this WorkChain that do not depend on the lattice, from the protocol `patterns`."""
    options = {"options": settings["options"]}
    return {
        "settings": orm.Dict(settings["learn"]),
        "seed": orm.Int(settings["seed"]),
        **{
            stage: {job: {"code": code, "parameters": orm.Dict(settings[stage]["parameters"]), "metadata": options}}
            for stage, job in (("train", "training"), ("suggest", "search"))
        },
        "label": label_patterns_inputs(shared, settings["label"]),
    }


def _validate(inputs, _) -> str | None:
    if any(name not in inputs for name in ("lattice", "supercell", "counts", "train", "label")):
        return None  # exposed elsewhere without them
    if ("labels" in inputs) != ("reference" in inputs):
        return "labels, reference: give both, from the outputs of one LearnPatternsWorkChain, or neither"
    try:
        instance = f.read_lattice(inputs["lattice"])
        cell = instance.supercell(inputs["supercell"].value)
        composition = f.composition_of(instance, inputs["supercell"].value, inputs["counts"].get_dict())
        Descriptor(instance.lattice, descriptor_of(inputs["train"])).check(cell)
        row = random_configuration(cell, composition, np.random.default_rng(0))
    except (PatternError, ConfigError) as error:
        return str(error)
    return label_patterns_faults(inputs["label"], cell, row)


def descriptor_of(train):
    """The descriptor that a namespace `train` asks for."""
    return parse(
        train["training"]["parameters"].get_dict(), PatternTrainConfig, where="train.training.parameters"
    ).descriptor
