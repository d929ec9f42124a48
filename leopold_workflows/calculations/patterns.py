"""The jobs `leopold patterns train | suggest | anneal`: labels in, model, configurations and patterns out."""

from __future__ import annotations

import json

import yaml
from aiida import orm

from leopold_model.patterns.settings import AnnealConfig, PatternTrainConfig, SearchConfig
from leopold_workflows.calculations.job import RESULT, ResumableCalculation
from leopold_workflows.data.patterns import PatternLabelsData, PatternModelData, PatternRunData

LABELS, MODEL, RUN, CHAINS, KNOWN = "labels.h5", "patterns.npz", "anneal.h5", "chains.h5", "known.json"


class PatternCalculation(ResumableCalculation):
    """Base of the three: how long each may take is an option of its command line."""

    def _calcinfo(self, arguments, copies, retrieve):
        if self._seconds:
            arguments = [*arguments, f"--max-seconds={self._seconds:g}"]
        return super()._calcinfo([*arguments, "--json"], copies, [RESULT, *retrieve], stdout=RESULT)


class PatternTrainCalculation(PatternCalculation):
    """Run `leopold patterns train`: fit an ensemble to the labels; its errors are on orbits it never saw."""

    VERB = "patterns.train"
    SCHEMA = PatternTrainConfig
    KEYS = "`members`, `epochs`"
    CHECKPOINT = ("patterns.checkpoint",)

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("labels", valid_type=PatternLabelsData, help="Configurations with energies.")
        spec.output("model", valid_type=PatternModelData, required=False, help="The ensemble.")

    def prepare_for_submission(self, folder):
        with folder.open("train.yaml", "w", encoding="utf8") as handle:
            yaml.safe_dump(self.inputs.parameters.get_dict(), handle)
        arguments = [LABELS, "--config=train.yaml", f"--output={MODEL}"]
        return self._calcinfo(arguments, {LABELS: self.inputs.labels}, [MODEL])


class PatternSearchCalculation(PatternCalculation):
    """Base of the two that move through configurations of a model's lattice."""

    MANAGED = ("seed",)

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("model", valid_type=PatternModelData, help="The energy of configurations.")
        spec.input("supercell", valid_type=orm.Str, help="A name in the lattice file, or repeats: 24x16.")
        spec.input(
            "counts",
            valid_type=orm.Dict,
            required=False,
            help="Number of each species; default: those the lattice file has for a named supercell.",
        )
        spec.input("seed", valid_type=orm.Int, help="Of the starts and of every move.")

    def _arguments(self) -> list[str]:
        """The parameters, the supercell, the counts and the seed as options of the command line."""
        found = [f"--supercell={self.inputs.supercell.value}", f"--seed={self.inputs.seed.value}"]
        counts = {"counts": self.inputs.counts.get_dict()} if "counts" in self.inputs else {}
        for key, value in (counts | self.inputs.parameters.get_dict()).items():
            option = f"--{key.replace('_', '-')}"
            if key == "counts":
                found.append(f"{option}={','.join(f'{name}={n}' for name, n in value.items())}")
            elif key == "reach":
                found += [f"{option}={name}={','.join(map(str, far))}" for name, far in value.items()]
            elif value not in (None, [], ()):
                text = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
                found.append(f"{option}={text}")
        return found


class PatternSuggestCalculation(PatternSearchCalculation):
    """Run `leopold patterns suggest`: short anneals, and what to label of the configurations they passed."""

    VERB = "patterns.suggest"
    SCHEMA = AnnealConfig
    KEYS = "`temperature`, `moves`"
    CHECKPOINT = (CHAINS,)

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("number", valid_type=orm.Int, help="Configurations at most.")
        spec.input("known", valid_type=orm.List, help="Canonical keys of what was labelled or tried.")
        spec.input("boldness", valid_type=orm.Float, default=lambda: orm.Float(1.0), help="Weight of disagreement.")
        spec.output(
            "configurations",
            valid_type=orm.ArrayData,
            required=False,
            help="`occupations` (n, n_sites), predicted `energies` and `spreads` (n,) in eV, best first.",
        )

    def prepare_for_submission(self, folder):
        with folder.open(KNOWN, "w", encoding="utf8") as handle:
            json.dump(self.inputs.known.get_list(), handle)
        more = [f"--number={self.inputs.number.value}", f"--boldness={self.inputs.boldness.value}"]
        arguments = [MODEL, *self._arguments(), *more, f"--known={KNOWN}", f"--checkpoint={CHAINS}"]
        return self._calcinfo(arguments, {MODEL: self.inputs.model}, [])


class PatternAnnealCalculation(PatternSearchCalculation):
    """Run `leopold patterns anneal`: many chains in one supercell."""

    VERB = "patterns.anneal"
    SCHEMA = SearchConfig
    KEYS = "`temperature`, `moves`"
    CHECKPOINT = (RUN,)

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("delocalised", valid_type=orm.Int, default=lambda: orm.Int(0), help="Carriers spread over the host.")
        spec.output("run", valid_type=PatternRunData, required=False, help="Where the chains are, the lowest they saw.")

    def prepare_for_submission(self, folder):
        more = [f"--delocalised={self.inputs.delocalised.value}", f"--output={RUN}"]
        return self._calcinfo([MODEL, *self._arguments(), *more], {MODEL: self.inputs.model}, [RUN])
