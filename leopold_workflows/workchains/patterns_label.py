"""`LabelPatternsWorkChain` (`leopold.patterns.label`): configurations to VASP and back, in the paper's three steps."""

from __future__ import annotations

from collections.abc import Mapping

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import WorkChain, while_

from leopold_model.patterns import PatternError
from leopold_model.patterns.structures import to_structure
from leopold_workflows.calculations import functions_patterns as f
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.patterns import PatternLabelsData
from leopold_workflows.vasp import adapter
from leopold_workflows.vasp.calculation import LeopoldVaspCalculation
from leopold_workflows.vasp.study import Study
from leopold_workflows.workchains.ended import reason
from leopold_workflows.workchains.localise import LocaliseWorkChain, localise_faults, localise_inputs

# inputs of a LocaliseWorkChain that every configuration brings itself
OWN = ("structure", "sites", "vasp.dynamics")


class LabelPatternsWorkChain(WorkChain):
    """Energies of `configurations` of defects and carriers.

    (1) The structure without carriers, that is, of the pattern of vacancies and dopants, is relaxed without spin, once
    for all configurations that share it. (2) Occupations are imposed on the carrier sites, by the label of each, and
    (3) released: a relaxation from structure and orbitals of (2) (a LocaliseWorkChain, whose other strategies serve a
    VASP without the patch). Where the carriers then are decides which configuration the energy belongs to, be it the
    one asked for or another; see `gather_labels` for what is no label. Fewer answers than `quorum` end with 411, not
    one label with 412, outputs complete all the same.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.expose_inputs(LocaliseWorkChain, exclude=OWN)
        spec.input("lattice", valid_type=orm.SinglefileData, validator=check_lattice, help="The lattice, a YAML file.")
        spec.input("supercell", valid_type=orm.Str, help="A name in the lattice file, or repeats: 6x4.")
        spec.input("configurations", valid_type=orm.ArrayData, help="`occupations` (n, n_sites), one row each.")
        spec.input(
            "delocalised",
            valid_type=FrameSetData,
            required=False,
            help="Patterns relaxed without spin before, `label` their key.",
        )
        spec.input(
            "reference",
            valid_type=orm.Float,
            required=False,
            help="eV that labels are relative to; default: the most stable pattern without localised carriers.",
        )
        spec.input(
            "orbitals",
            valid_type=orm.Dict,
            default=lambda: orm.Dict({}),
            help="By label of the site, the real harmonic to impose, as `orbital` of the carrier.",
        )
        spec.input(
            "max_force", valid_type=orm.Float, default=lambda: orm.Float(0.05), help="eV/Angstrom, of a relaxed label."
        )
        spec.input("max_concurrent", valid_type=orm.Int, default=lambda: orm.Int(8), help="Configurations at a time.")
        spec.input("quorum", valid_type=orm.Float, default=lambda: orm.Float(0.8), help="Least fraction answered.")
        spec.inputs.validator = _validate
        spec.outline(
            cls.setup,
            while_(cls.patterns_remain)(
                cls.run_delocalised,
                cls.inspect_delocalised,
            ),
            cls.gather_delocalised,
            while_(cls.configurations_remain)(
                cls.run_localised,
                cls.inspect_localised,
            ),
            cls.results,
            cls.check_quorum,
        )
        spec.output("labels", valid_type=PatternLabelsData, required=False, help="Configurations that were reached.")
        spec.output("delocalised", valid_type=FrameSetData, required=False, help="Patterns relaxed without spin.")
        spec.output("reference", valid_type=orm.Float, required=False, help="eV that the labels are relative to.")
        spec.output(
            "outcomes", valid_type=orm.Dict, required=False, help="`counts`, `total`, and `labels` by canonical key."
        )
        spec.exit_code(
            403, "ERROR_SUB_PROCESS_DELOCALISED", message="no pattern of defects could be relaxed; first failure: {why}"
        )
        spec.exit_code(
            411,
            "ERROR_LABEL_QUORUM_NOT_MET",
            message="{answered} of {total} labels were answered, fewer than the quorum; all outputs are there",
        )
        spec.exit_code(412, "ERROR_NO_LABEL", message="none of {total} configurations gave a label; see `outcomes`")

    def setup(self):
        """List patterns and configurations by their keys."""
        cell = self._cell
        wanted = f.requests(cell, self.inputs.configurations)
        self.ctx.pattern_of = {key: f.pattern_key(cell, row) for key, row in sorted(wanted.items())}
        known = self.inputs.delocalised.get_frames() if "delocalised" in self.inputs else []
        done = {frame.label for frame in known}
        self.ctx.patterns = sorted(set(self.ctx.pattern_of.values()) - done)
        self.ctx.waiting, self.ctx.relaxed, self.ctx.failed = [], sorted(done), {}
        self.ctx.running, self.ctx.why = [], ""

    # ----------------------------------------------------------------------------------------------- without carriers

    def patterns_remain(self):
        """Whether any pattern has not been relaxed without spin."""
        return bool(self.ctx.patterns)

    def run_delocalised(self):
        """Submit the next few of these relaxations."""
        n = self.inputs.max_concurrent.value
        self.ctx.running, self.ctx.patterns = self.ctx.patterns[:n], self.ctx.patterns[n:]
        count = f.carriers_in(self._cell, next(iter(self._requests.values())))
        carrier = orm.Dict({**self.inputs.carrier.get_dict(), "n": count, "delocalised": True})
        for pattern in self.ctx.running:
            made = f.pattern_structure(
                self.inputs.lattice, self.inputs.supercell, self.inputs.configurations, orm.Str(pattern)
            )
            vasp = {**self.inputs.vasp, "dynamics": made["dynamics"]}
            inputs = adapter.job_inputs(
                AttributeDict(vasp), made["structure"], carrier, stage="delocalised", run=f"pattern-{pattern[:8]}",
                sites=(), incar=self.inputs.relaxation_incar.get_dict(), tags={"source": "delocalised"},
            )  # fmt: skip
            self.to_context(**{_name("pattern", pattern): self.submit(LeopoldVaspCalculation, **inputs)})

    def inspect_delocalised(self):
        """Note those that converged."""
        for pattern in self.ctx.running:
            node = self.ctx[_name("pattern", pattern)]
            if node.is_finished_ok:
                self.ctx.relaxed.append(pattern)
            else:
                self.ctx.why = self.ctx.why or reason(node)
                self.report(f"pattern {pattern}: LeopoldVaspCalculation<{node.pk}> failed: {reason(node)}")

    def gather_delocalised(self):
        """Put them with those known before; configurations of the others have failed."""
        names = [_name("pattern", pattern) for pattern in self.ctx.relaxed]
        found = {name: self.ctx[name].outputs.frames for name in names if name in self.ctx}
        known = {"known": self.inputs.delocalised} if "delocalised" in self.inputs else {}
        if not found and not known:
            return self.exit_codes.ERROR_SUB_PROCESS_DELOCALISED.format(why=self.ctx.why)
        self.ctx.delocalised = f.gather_delocalised(**known, **found) if found else self.inputs.delocalised
        self.ctx.reference = (
            self.inputs.reference if "reference" in self.inputs else f.reference_energy(self.ctx.delocalised)
        )
        self.out("delocalised", self.ctx.delocalised)
        self.out("reference", self.ctx.reference)
        self.ctx.waiting = [key for key, pattern in self.ctx.pattern_of.items() if pattern in self.ctx.relaxed]
        self.ctx.failed = {key: None for key in self.ctx.pattern_of if key not in self.ctx.waiting}
        return None

    # -------------------------------------------------------------------------------------------------- with carriers

    def configurations_remain(self):
        """Whether any configuration was not submitted."""
        return bool(self.ctx.waiting)

    def run_localised(self):
        """Submit the next few: occupations imposed, then released."""
        n = self.inputs.max_concurrent.value
        self.ctx.running, self.ctx.waiting = self.ctx.waiting[:n], self.ctx.waiting[n:]
        for key in self.ctx.running:
            shared = AttributeDict(self.exposed_inputs(LocaliseWorkChain))
            made = f.configuration_structure(
                self.inputs.lattice, self.inputs.supercell, self.inputs.configurations, orm.Str(key),
                self.ctx.delocalised, shared.carrier, self.inputs.orbitals,
            )  # fmt: skip
            shared.vasp["dynamics"] = made["dynamics"]
            shared.update(structure=made["structure"], carrier=made["carrier"], sites=made["sites"])
            self.to_context(**{_name("release", key): self.submit(LocaliseWorkChain, **shared)})

    def inspect_localised(self):
        """Note those that gave no verdict."""
        for key in self.ctx.running:
            node = self.ctx[_name("release", key)]
            if "verdict" not in node.outputs:
                self.ctx.failed[key] = node.exit_status
                self.report(f"configuration {key}: LocaliseWorkChain<{node.pk}> failed: {reason(node)}")

    def results(self):
        """Labels of what was reached, outcomes of all."""
        released = {}
        for key in self.ctx.pattern_of:
            node = self.ctx.get(_name("release", key))
            if node is not None and "verdict" in node.outputs:
                released |= {f"relaxation_{key}": node.outputs.relaxation, f"verdict_{key}": node.outputs.verdict}
        made = f.gather_labels(
            self.inputs.lattice, self.inputs.supercell, self.inputs.configurations, self.ctx.delocalised,
            self.ctx.reference, self.inputs.max_force, orm.Dict(self.ctx.failed), **released,
        )  # fmt: skip
        self.out("labels", made["labels"])
        self.out("outcomes", made["outcomes"])
        self.report(", ".join(f"{count} {name}" for name, count in made["outcomes"]["counts"].items() if count))

    def check_quorum(self):
        """End with what the outcomes amount to."""
        counts, total = self.outputs["outcomes"]["counts"], self.outputs["outcomes"]["total"]
        answered = total - counts["failed"] - counts["not_converged"]
        if answered < self.inputs.quorum.value * total:
            return self.exit_codes.ERROR_LABEL_QUORUM_NOT_MET.format(answered=answered, total=total)
        if not counts["verified"] + counts["moved"]:
            return self.exit_codes.ERROR_NO_LABEL.format(total=total)
        return None

    @property
    def _cell(self):
        return f.read_lattice(self.inputs.lattice).supercell(self.inputs.supercell.value)

    @property
    def _requests(self):
        return f.requests(self._cell, self.inputs.configurations)


def label_patterns_inputs(shared: Study, settings: Mapping) -> dict:
    """Inputs of this WorkChain that do not depend on lattice and configurations, from the section `label` of the
    protocol `patterns`."""
    base = localise_inputs(shared)
    own = {name: base[name] for name in ("vasp", "carrier", "max_participation", "distortion", "rattle", "rattle_seed")}
    return {
        **own,
        "localisation": orm.Str(settings["localisation"]),
        "relaxation_incar": orm.Dict({"nsw": settings["relaxation_steps"], **settings["incar"]}),
        "orbitals": orm.Dict(shared.material["patterns"]["orbitals"]),
        "max_force": orm.Float(settings["max_force"]),
        "max_concurrent": orm.Int(settings["max_concurrent"]),
        "quorum": orm.Float(settings["quorum"]),
    }


def check_lattice(node, _) -> str | None:
    """Why this file is no lattice; None if it is."""
    if node is not None:
        try:
            f.read_lattice(node)
        except PatternError as error:
            return str(error)
    return None


def label_patterns_faults(inputs, cell, occupations) -> str | None:
    """What is wrong with `inputs` of this WorkChain for configurations of `cell` like `occupations`."""
    wanted = to_structure(cell, occupations)
    atoms = wanted.atoms
    atoms.set_constraint()
    carrier = orm.Dict({**inputs["carrier"].get_dict(), "n": len(wanted.carrier_sites)})
    own = {**inputs, "carrier": carrier, "substitute": inputs.get("substitute")}
    own = {name: node for name, node in own.items() if node is not None}
    return localise_faults(own, orm.StructureData(ase=atoms), list(wanted.carrier_sites))


def _name(kind: str, key: str) -> str:
    return f"{kind}_{key}"


def _validate(inputs, _) -> str | None:
    if "lattice" not in inputs or "configurations" not in inputs:
        return None  # exposed elsewhere without them
    try:
        cell = f.read_lattice(inputs["lattice"]).supercell(inputs["supercell"].value)
        rows = f.requests(cell, inputs["configurations"])
    except (PatternError, ValueError) as error:
        return f"supercell, configurations: {error}"
    if not rows:
        return "configurations: none; give at least one row of occupations"
    return label_patterns_faults(inputs, cell, next(iter(rows.values())))
