"""`PatternsWorkChain` (`leopold.patterns`): from a lattice to ordered defects on a large area."""

from __future__ import annotations

import io

import numpy as np
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ToContext, WorkChain

from leopold_model.config import ConfigError
from leopold_model.patterns import PatternError
from leopold_model.patterns.composition import random_configuration
from leopold_model.patterns.descriptor import Descriptor
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.structures import to_structure
from leopold_workflows.calculations.functions_patterns import composition_of, read_lattice
from leopold_workflows.protocols import ProtocolError
from leopold_workflows.protocols import material as load_material
from leopold_workflows.protocols import protocol as load_protocol
from leopold_workflows.vasp.study import study
from leopold_workflows.workchains.ended import reason
from leopold_workflows.workchains.patterns_learn import LearnPatternsWorkChain, descriptor_of, learn_patterns_inputs
from leopold_workflows.workchains.patterns_surface import (
    SurfacePatternWorkChain,
    surface_faults,
    surface_patterns_inputs,
)

UNSETTLED = (601, 603)  # learning ended without being settled, with a model all the same


class PatternsWorkChain(WorkChain):
    """Learn the energy of arrangements, then anneal large areas with it.

    A model that is not settled (601, 603) is annealed all the same: the study then ends with that status, and its
    pictures are to be read with it. `starts_lowest` and `starts_sampled` are `configurations` of
    leopold.seed.configurations: dynamics of the arrangements that were found.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.expose_inputs(LearnPatternsWorkChain, namespace="learn")
        spec.expose_inputs(
            SurfacePatternWorkChain,
            namespace="surface",
            exclude=("model", "labels", "lattice", "ranking", "ranking_counts"),
        )
        spec.inputs.validator = _validate
        spec.outline(cls.run_learning, cls.inspect_learning, cls.run_surface, cls.results)
        spec.expose_outputs(LearnPatternsWorkChain)
        spec.expose_outputs(SurfacePatternWorkChain)
        for status, stage in ((403, "learn"), (404, "surface")):
            message = "the stage {stage} failed with exit status {status}: {why}".replace("{stage}", stage)
            spec.exit_code(status, f"ERROR_SUB_PROCESS_{stage.upper()}", message=message)
        spec.exit_code(601, "ERROR_PATTERNS_NOT_CONVERGED", message="learning: {why}")
        spec.exit_code(603, "ERROR_BUDGET_EXHAUSTED", message="learning: {why}")

    @classmethod
    def get_builder_from_protocol(
        cls, code_vasp, code_leopold, *, material, protocol=None, overrides=None, potential_family=None, options=None,
        lattice=None, measured=None,
    ):  # fmt: skip
        """A builder for the lattice of `material`, or another one (`lattice`: the name of a shipped one, or a file).
        `measured` is a SinglefileData of measured positions; `overrides` has one mapping per protocol name."""
        recipe = load_material(material, (overrides or {}).get("material"))
        if not recipe["patterns"]:
            raise ProtocolError(f"material {material!r} has no section `patterns`: choose one that names a lattice")
        settings = load_protocol("patterns", protocol, (overrides or {}).get("patterns"))
        instance = load_lattice(lattice or recipe["patterns"]["lattice"])
        small, large = (recipe["patterns"][name] for name in ("supercell", "area"))
        small, large = settings["supercell"] or small, settings["surface"]["area"] or large
        composition = composition_of(instance, small, settings["counts"])
        area = composition_of(instance, large, settings["surface"]["counts"])
        cell = instance.supercell(small)
        atoms = to_structure(cell, random_configuration(cell, composition, np.random.default_rng(0))).atoms
        atoms.set_constraint()
        shared = study(
            code_vasp, material_name=material, structure=orm.StructureData(ase=atoms), level=protocol,
            overrides=overrides, potential_family=potential_family, options=options,
        )  # fmt: skip
        node = orm.SinglefileData(io.StringIO(instance.text), filename="lattice.yaml")
        builder = cls.get_builder()
        for namespace, inputs in (
            ("learn", learn_patterns_inputs(shared, code_leopold, settings)),
            ("surface", surface_patterns_inputs(code_leopold, settings)),
        ):
            for name, value in inputs.items():
                builder[namespace][name] = value
        builder.learn.lattice, builder.learn.supercell = node, orm.Str(small)
        builder.learn.counts = orm.Dict(dict(composition.counts))
        builder.surface.area, builder.surface.counts = orm.Str(large), orm.Dict(dict(area.counts))
        if measured is not None:
            builder.surface.measured = measured
        return builder

    def run_learning(self):
        """Submit the loop."""
        inputs = self.exposed_inputs(LearnPatternsWorkChain, "learn")
        return ToContext(learning=self.submit(LearnPatternsWorkChain, **inputs))

    def inspect_learning(self):
        """Go on with its model, settled or not."""
        node = self.ctx.learning
        self.out_many(self.exposed_outputs(node, LearnPatternsWorkChain))
        if "model" not in node.outputs or (not node.is_finished_ok and node.exit_status not in UNSETTLED):
            return self.exit_codes.ERROR_SUB_PROCESS_LEARN.format(status=node.exit_status, why=reason(node))
        if not node.is_finished_ok:
            self.report(f"going on with a model that is not settled: {reason(node)}")
        return None

    def run_surface(self):
        """Anneal with it."""
        inputs = AttributeDict(self.exposed_inputs(SurfacePatternWorkChain, "surface"))
        found, given = self.ctx.learning.outputs, self.inputs.learn
        inputs.update(model=found.model, labels=found.labels, lattice=given.lattice)
        inputs.update(ranking=given.supercell, ranking_counts=given.counts)
        return ToContext(surface=self.submit(SurfacePatternWorkChain, **inputs))

    def results(self):
        """Attach what was found; end as learning did."""
        node = self.ctx.surface
        self.out_many(self.exposed_outputs(node, SurfacePatternWorkChain))
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_SUB_PROCESS_SURFACE.format(status=node.exit_status, why=reason(node))
        learning = self.ctx.learning
        if learning.is_finished_ok:
            return None
        name = {601: "ERROR_PATTERNS_NOT_CONVERGED", 603: "ERROR_BUDGET_EXHAUSTED"}[learning.exit_status]
        return self.exit_codes[name].format(why=reason(learning))


def _validate(inputs, _) -> str | None:
    """The area must be one of the lattice that is learned; the rest is asked of the stages."""
    if "lattice" not in inputs.get("learn", {}) or "area" not in inputs.get("surface", {}):
        return None
    learn, area = inputs["learn"], inputs["surface"]["area"]
    try:
        instance = read_lattice(learn["lattice"])
        Descriptor(instance.lattice, descriptor_of(learn["train"])).check(instance.supercell(area.value))
    except (PatternError, ConfigError) as error:
        return f"surface: area: {error}"
    given = {**inputs["surface"], "lattice": learn["lattice"], "ranking": learn["supercell"]}
    message = surface_faults({**given, "ranking_counts": learn["counts"]}, None)
    return f"surface: {message}" if message else None
