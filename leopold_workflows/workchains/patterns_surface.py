"""`SurfacePatternWorkChain` (`leopold.patterns.surface`): how defects are spaced on large areas, what is lowest."""

from __future__ import annotations

from collections.abc import Mapping

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import WorkChain, while_

from leopold_model.config import parse
from leopold_model.patterns import PatternError
from leopold_model.patterns.composition import Composition
from leopold_model.patterns.lattice_file import Instance
from leopold_model.patterns.measured import read_measured
from leopold_workflows.calculations import functions_patterns_surface as surface
from leopold_workflows.calculations.functions import seed_of_round, updated
from leopold_workflows.calculations.functions_patterns import composition_of, read_lattice
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.patterns import PatternLabelsData, PatternModelData, PatternRunData
from leopold_workflows.pattern_settings import SurfaceSettings
from leopold_workflows.settings import checked_by
from leopold_workflows.workchains.ended import reason
from leopold_workflows.workchains.patterns_anneal import AnnealBaseWorkChain
from leopold_workflows.workchains.patterns_label import check_lattice

DECIDED_HERE = ("model", "supercell", "counts", "delocalised", "seed", "restart_folder")


class SurfacePatternWorkChain(WorkChain):
    """Anneal a large `area` and a small cell for the ranking, each under three treatments of the carriers.

    `none`: delocalised, only the other defects are there; `random`: carriers stay where chance put them; `learned`: all
    move. Beside them, the area with carriers at every share of defects in `sweep`. Each annealing is one job of many
    chains, each chain an independent seed: errors are over chains. What is said of `none` needs a model that has seen
    labels without carriers, as LearnPatternsWorkChain makes them.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("model", valid_type=PatternModelData, help="The energy of configurations.")
        spec.input("lattice", valid_type=orm.SinglefileData, validator=check_lattice, help="The lattice, a YAML file.")
        spec.input("area", valid_type=orm.Str, help="The large supercell, such as 24x16.")
        spec.input("counts", valid_type=orm.Dict, help="Number of each species in it, carriers included.")
        spec.input("ranking", valid_type=orm.Str, help="The supercell of the ranking table, best that of the labels.")
        spec.input("ranking_counts", valid_type=orm.Dict, help="Number of each species in that.")
        spec.input("labels", valid_type=PatternLabelsData, required=False, help="Confirmed energies for the ranking.")
        spec.input(
            "measured",
            valid_type=orm.SinglefileData,
            required=False,
            validator=_check_measured,
            help="CSV of measured positions, `x` along and `y` across the rows in Angstrom.",
        )
        spec.input(
            "settings",
            valid_type=orm.Dict,
            validator=checked_by(SurfaceSettings, "settings"),
            help="Treatments, sweep, what is counted: see SurfaceSettings.",
        )
        spec.input("seed", valid_type=orm.Int, help="Every annealing derives its own from it.")
        spec.input("max_concurrent", valid_type=orm.Int, default=lambda: orm.Int(4), help="Annealings at a time.")
        spec.expose_inputs(
            AnnealBaseWorkChain,
            namespace="annealing",
            exclude=(*(f"anneal.{name}" for name in DECIDED_HERE), "clean_workdir"),
        )
        spec.inputs.validator = surface_faults
        spec.outline(
            cls.setup,
            while_(cls.annealings_remain)(
                cls.run_annealings,
                cls.inspect_annealings,
            ),
            cls.results,
        )
        spec.output_namespace("runs", valid_type=PatternRunData, help="`area_*`, `ranking_*` by treatment, `sweep_*`.")
        for name, kind, text in (
            ("correlations", orm.Dict, "Of every area: autocorrelation with errors, peaks, motifs."),
            ("ranked", orm.Dict, "Low-energy configurations by treatment, with motifs."),
            ("measured_correlation", orm.Dict, "That of the measured positions."),
            ("starts_lowest", FrameSetData, "Lowest configurations, for leopold.seed.configurations."),
            ("starts_sampled", FrameSetData, "Boltzmann-sampled ones, likewise."),
        ):
            spec.output(name, valid_type=kind, required=False, help=text)
        spec.exit_code(
            404,
            "ERROR_SUB_PROCESS_ANNEAL",
            message="{failed} of {total} annealings failed; first failure: {why}; what the others gave is output",
        )

    def setup(self):
        """List the annealings: supercell, counts, delocalised carriers, what moves."""
        settings, instance = self._settings, read_lattice(self.inputs.lattice)
        small, large = self.inputs.ranking.value, self.inputs.area.value
        self.ctx.plan = {}
        for treatment in settings.treatments:
            for kind, cell, counts in (
                ("ranking", small, self.inputs.ranking_counts),
                ("area", large, self.inputs.counts),
            ):
                self.ctx.plan[f"{kind}_{treatment}"] = planned(instance, cell, counts.get_dict(), treatment)
        for k, share in enumerate(settings.sweep, start=1):
            counts = diluted(instance, large, share, settings)
            self.ctx.plan[f"sweep_{k:02d}"] = planned(instance, large, counts, "learned")
        self.ctx.waiting, self.ctx.running, self.ctx.why = list(self.ctx.plan), [], ""

    def annealings_remain(self):
        """Whether any was not submitted."""
        return bool(self.ctx.waiting)

    def run_annealings(self):
        """Submit the next few."""
        n, order = self.inputs.max_concurrent.value, list(self.ctx.plan)
        self.ctx.running, self.ctx.waiting = self.ctx.waiting[:n], self.ctx.waiting[n:]
        for name in self.ctx.running:
            cell, counts, delocalised, explore = self.ctx.plan[name]
            inputs = AttributeDict(self.exposed_inputs(AnnealBaseWorkChain, "annealing"))
            parameters = inputs.anneal.parameters
            if explore is not None:
                parameters = updated(parameters, orm.Dict({"explore": explore}))
            inputs.anneal.update(
                model=self.inputs.model,
                supercell=orm.Str(cell),
                counts=orm.Dict(counts),
                delocalised=orm.Int(delocalised),
                parameters=parameters,
                seed=seed_of_round(self.inputs.seed, orm.Int(order.index(name))),
            )
            inputs.metadata = {"call_link_label": name}
            self.to_context(**{name: self.submit(AnnealBaseWorkChain, **inputs)})

    def inspect_annealings(self):
        """Note what failed."""
        for name in self.ctx.running:
            node = self.ctx[name]
            if not node.is_finished_ok:
                self.ctx.why = self.ctx.why or f"{name}, {reason(node)}"
                self.report(f"{name}: AnnealBaseWorkChain<{node.pk}> failed: {reason(node)}")

    def results(self):
        """Correlations, ranking, starts of dynamics."""
        runs = {name: self.ctx[name].outputs.run for name in self.ctx.plan if self.ctx[name].is_finished_ok}
        self.out("runs", runs)
        areas = {name: run for name, run in runs.items() if not name.startswith("ranking_")}
        small = {name.removeprefix("ranking_"): run for name, run in runs.items() if name.startswith("ranking_")}
        settings = self.inputs.settings
        if areas:
            self.out("correlations", surface.correlations_of(settings, **areas))
        if small:
            given = {"labels": self.inputs.labels} if "labels" in self.inputs else {}
            self.out("ranked", surface.ranking_of(settings, **given, **small))
        if "learned" in small:
            for kind, frames in surface.starts_of(small["learned"], settings).items():
                self.out(f"starts_{kind}", frames)
        if "measured" in self.inputs:
            self.out("measured_correlation", surface.measured_of(self.inputs.measured, self.inputs.lattice, settings))
        if len(runs) < len(self.ctx.plan):
            return self.exit_codes.ERROR_SUB_PROCESS_ANNEAL.format(
                failed=len(self.ctx.plan) - len(runs), total=len(self.ctx.plan), why=self.ctx.why
            )
        return None

    @property
    def _settings(self) -> SurfaceSettings:
        return parse(self.inputs.settings.get_dict(), SurfaceSettings)


def planned(instance: Instance, cell: str, counts: Mapping[str, int], treatment: str) -> list:
    """[supercell, counts, delocalised carriers, what moves (None: as the parameters say)] of an annealing."""
    carriers = {s.name: abs(s.charge) for s in instance.lattice.species if s.kind == "carrier"}
    if treatment != "none":
        return [cell, dict(counts), 0, "defects" if treatment == "random" else None]
    kept = {name: n for name, n in counts.items() if name not in carriers}
    return [cell, kept, sum(charge * counts.get(name, 0) for name, charge in carriers.items()), None]


def diluted(instance: Instance, cell: str, share: float, settings: SurfaceSettings) -> dict[str, int]:
    """Counts with `share` of the sites of the counted defect occupied and as many carriers as it brings."""
    species, label = surface.counted(instance.lattice, settings)
    n = round(share * int((instance.supercell(cell).labels == label).sum()))
    charge = next(s.charge for s in instance.lattice.species if s.name == species)
    carrier = next((s for s in instance.lattice.species if s.kind == "carrier" and s.charge * charge < 0), None)
    if not n or carrier is None:
        raise PatternError(
            f"sweep: {share} of the {label} sites of {cell} leaves {n} {species}: give a larger share or area"
        )
    return {species: n, carrier.name: abs(n * charge // carrier.charge)}


def surface_patterns_inputs(code: orm.AbstractCode, settings: Mapping) -> dict:
    """Inputs of this WorkChain that do not depend on model and lattice, from the protocol `patterns`."""
    own = dict(settings["surface"])
    parameters, concurrent = own.pop("parameters"), own.pop("max_concurrent")
    for name in ("area", "counts"):
        own.pop(name)
    job = {"code": code, "parameters": orm.Dict(parameters), "metadata": {"options": settings["options"]}}
    return {
        "settings": orm.Dict(own),
        "seed": orm.Int(settings["seed"]),
        "max_concurrent": orm.Int(concurrent),
        "annealing": {"anneal": job},
    }


def _check_measured(node, _) -> str | None:
    if node is not None:
        try:
            read_measured(node.get_content().splitlines(), "measured")
        except PatternError as error:
            return str(error)
    return None


def surface_faults(inputs, _) -> str | None:
    """Why these inputs cannot be used; None where they can."""
    if any(name not in inputs for name in ("lattice", "area", "counts", "ranking", "ranking_counts", "settings")):
        return None  # exposed elsewhere without them
    try:
        instance = read_lattice(inputs["lattice"])
        settings = parse(inputs["settings"].get_dict(), SurfaceSettings)
        cells = [(inputs["area"].value, inputs["counts"]), (inputs["ranking"].value, inputs["ranking_counts"])]
        for name, counts in cells:
            composition_of(instance, name, counts.get_dict())
            if "model" in inputs:
                inputs["model"].get_model().descriptor.check(instance.supercell(name))
        for share in settings.sweep:
            Composition(instance.lattice, diluted(instance, inputs["area"].value, share, settings))
    except PatternError as error:
        return str(error)
    return None
