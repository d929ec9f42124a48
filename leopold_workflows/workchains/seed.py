"""`SeedWorkChain` (`leopold.seed`): the first data: a localised carrier and the dynamics it begins."""

from __future__ import annotations

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ToContext, WorkChain, if_

from leopold_workflows.calculations.functions_vasp import (
    carrier_template,
    initial_velocities,
    judge_last,
    start_frames,
    thin_runs,
)
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp import adapter, localisation, verdict
from leopold_workflows.vasp.calculation import LeopoldVaspCalculation
from leopold_workflows.vasp.study import Study, study
from leopold_workflows.vasp.validation import study_faults
from leopold_workflows.workchains.fpmd import FPMDWorkChain

VALIDATION = "validation"


class SeedWorkChain(WorkChain):
    """Localise the carrier on `sites`, release it, verify that it stayed, then first-principles dynamics in parallel.

    `localisation` chooses how the carrier is put there (see `leopold_workflows.vasp.localisation`): occupations imposed
    by a patched VASP, or without the patch by distorted bonds, by MAGMOM alone, or by an impurity that is put back.
    Whichever it was, a relaxation free of constraints decides by the moments of its last step, never by energy: a
    carrier that spread, went elsewhere, or left other spins in the cell ends the WorkChain with 501, 502 or 505.

    Dynamics runs at every temperature with every seed, and once more at `validation_temperature` with a seed
    of its own: that run is held out, its frames are `validation`. Velocities are drawn at twice the
    temperature because the runs start at the minimum, where potential energy takes half of it. Runs that fail
    are left out if `quorum` of them remain and the held-out one is among those.
    """

    @classmethod
    def define(cls, spec):
        super().define(spec)
        adapter.expose(spec)
        verdict.expose(spec)
        spec.input("structure", valid_type=orm.StructureData, help="Host supercell, sites sorted by kind.")
        spec.input("carrier", valid_type=orm.Dict, help="As in leopold.vasp.")
        spec.input("sites", valid_type=orm.List, help="Atoms to put the carriers on.")
        localisation.expose(spec)
        spec.input("relaxation_incar", valid_type=orm.Dict, help="INCAR tags of both relaxations, NSW among them.")
        spec.input("temperatures", valid_type=orm.List, help="K, of the training runs.")
        spec.input("seeds", valid_type=orm.List, help="One run per seed at each temperature.")
        spec.input("validation_temperature", valid_type=orm.Float, help="K, of the held-out run.")
        spec.input("validation_seed", valid_type=orm.Int, help="Seed of the held-out run, none of `seeds`.")
        spec.input("steps", valid_type=orm.Int, help="Ionic steps of every run.")
        spec.input("segment_steps", valid_type=orm.Int, help="Ionic steps of one job at most.")
        spec.input("stride", valid_type=orm.Int, default=lambda: orm.Int(1), help="Keep every n-th step.")
        spec.input("dynamics_incar", valid_type=orm.Dict, help="INCAR tags of dynamics, POTIM among them.")
        spec.input("quorum", valid_type=orm.Float, default=lambda: orm.Float(0.8), help="Least fraction of runs.")
        spec.input(
            "prefix",
            valid_type=orm.Str,
            default=lambda: orm.Str(""),
            help="Of the names that the runs of dynamics have on their frames.",
        )
        spec.inputs.validator = _validate
        spec.outline(
            cls.setup,
            if_(cls.prepares_release)(
                cls.run_localisation,
                cls.inspect_localisation,
            ),
            cls.run_release,
            cls.inspect_release,
            cls.run_dynamics,
            cls.inspect_dynamics,
            cls.results,
        )
        spec.output("frames", valid_type=FrameSetData, required=False, help="Converged frames of the training runs.")
        spec.output("validation", valid_type=FrameSetData, required=False, help="Converged frames of the held-out run.")
        spec.output("starts", valid_type=FrameSetData, required=False, help="Where the runs ended, with velocities.")
        spec.output("structure", valid_type=orm.StructureData, required=False, help="The relaxed polaron.")
        spec.output("relaxation", valid_type=FrameSetData, required=False, help="Steps of the released relaxation.")
        spec.output("verdict", valid_type=orm.Dict, required=False, help="Where the released carrier sits.")
        spec.output(
            "template",
            valid_type=orm.Dict,
            required=False,
            help="The released carrier's occupations and the host's symmetry: to be imposed where frames are labelled.",
        )
        spec.output_namespace("remote_folders", valid_type=orm.RemoteData, help="Last folder of every run.")
        spec.exit_code(
            320,
            "ERROR_OCCUPATIONS_NOT_IMPOSED",
            message="OUTCAR does not list the imposed occupations: this VASP lacks the occupation-matrix patch and "
            "ignored them; use a patched one, or localisation 'distortion', 'substitution' or 'moment'",
        )
        spec.exit_code(
            403,
            "ERROR_SUB_PROCESS_LOCALISATION",
            message="the relaxation before the release failed with exit status {status}",
        )
        spec.exit_code(
            404, "ERROR_SUB_PROCESS_RELEASE", message="the released relaxation failed with exit status {status}"
        )
        spec.exit_code(
            405,
            "ERROR_SUB_PROCESS_DYNAMICS",
            message="{done} of {total} runs of dynamics succeeded, the held-out one {validation}; these are output",
        )
        spec.exit_code(504, "ERROR_RELEASE_NOT_CONVERGED", message="the last step of the release did not reach EDIFF")
        spec.exit_code(
            505,
            "ERROR_OTHER_SPIN",
            message="released, the cell has a moment of {cell_moment:.2f} mu_B, not that of its carriers alone",
        )

    @classmethod
    def get_builder_from_protocol(
        cls, code, *, material, structure=None, protocol=None, overrides=None, potential_family=None, options=None
    ):
        """A builder with the inputs of protocols `vasp`, `fpmd` and `seed` for a `material` ('mgo', 'tio2')."""
        shared = study(
            code, material_name=material, structure=structure, level=protocol, overrides=overrides,
            potential_family=potential_family, options=options,
        )  # fmt: skip
        builder = cls.get_builder()
        for name, value in seed_inputs(shared).items():
            builder[name] = value
        return builder

    def setup(self):
        """Name the runs of dynamics: (temperature, seed) each."""
        runs = [(t, s) for t in self.inputs.temperatures.get_list() for s in self.inputs.seeds.get_list()]
        self.ctx.runs = {f"fpmd_{t:g}K_{s}".replace(".", "p").replace("-", "m"): [t, s] for t, s in runs}
        self.ctx.runs[VALIDATION] = [self.inputs.validation_temperature.value, self.inputs.validation_seed.value]

    def prepares_release(self):
        """Whether a relaxation comes before the free one: with imposed occupations or with an impurity."""
        return self._strategy.prepares

    def run_localisation(self):
        """Submit it."""
        given = self._strategy.preparation(self.inputs)
        self.ctx.orbitals = given.pop("orbitals", None)
        inputs = self._relaxation("localisation", **given)
        return ToContext(localisation=self.submit(LeopoldVaspCalculation, **inputs))

    def inspect_localisation(self):
        """It need not have converged: only structure and orbitals are gone on from."""
        node = self.ctx.localisation
        if node.exit_status == LeopoldVaspCalculation.exit_codes.ERROR_OCCUPATIONS_NOT_IMPOSED.status:
            return self.exit_codes.ERROR_OCCUPATIONS_NOT_IMPOSED
        if not _usable(node):
            return self.exit_codes.ERROR_SUB_PROCESS_LOCALISATION.format(status=node.exit_status)
        return None

    def run_release(self):
        """Submit the relaxation without constraints."""
        prepared = self.ctx.localisation.outputs if self._strategy.prepares else {}
        inputs = self._relaxation("release", **self._strategy.release(self.inputs, prepared))
        return ToContext(release=self.submit(LeopoldVaspCalculation, **inputs))

    def inspect_release(self):
        """Verify that the carrier is where it was asked to be."""
        node = self.ctx.release
        if not _usable(node):
            return self.exit_codes.ERROR_SUB_PROCESS_RELEASE.format(status=node.exit_status)
        asked = {"orbitals": self.ctx.orbitals} if self.ctx.get("orbitals") is not None else {}
        printed = {"occupations": node.outputs.occupations} if "occupations" in node.outputs else {}
        found = judge_last(
            node.outputs.frames, node.outputs.carrier, self.inputs.structure, self.inputs.sites, self.inputs.carrier,
            self.inputs.max_participation, **asked, **printed,
        )  # fmt: skip
        self.out("relaxation", node.outputs.frames)
        self.out("structure", node.outputs.structure)
        self.out("verdict", found)
        miss = verdict.MISSES.get(found["outcome"])
        if miss:
            return self.exit_codes(miss).format(**found.get_dict())
        if "occupations" in node.outputs:
            template = carrier_template(node.outputs.occupations, node.outputs.frames, self.inputs.structure)
            if isinstance(template, orm.Dict):  # without a symmetry of the host there is none
                self.out("template", template)
        return None

    def run_dynamics(self):
        """Submit every run of dynamics at once."""
        release = self.ctx.release.outputs
        for name, (temperature, seed) in self.ctx.runs.items():
            velocities = initial_velocities(release.structure, orm.Float(2 * temperature), orm.Int(seed))
            run = self.submit(
                FPMDWorkChain,
                vasp=self.inputs.vasp,
                structure=release.structure,
                carrier=self.inputs.carrier,
                sites=self.inputs.sites,
                velocities=velocities,
                temperature=orm.Float(temperature),
                steps=self.inputs.steps,
                segment_steps=self.inputs.segment_steps,
                seed=orm.Int(seed),
                run=orm.Str(self.inputs.prefix.value + name),
                incar=self.inputs.dynamics_incar,
                restart_folder=release.remote_folder,
                monitor=orm.Dict({"max_participation": self.inputs.max_participation.value}),
            )
            self.to_context(**{name: run})

    def inspect_dynamics(self):
        """Count the runs that are whole."""
        self.ctx.done = [name for name in self.ctx.runs if self.ctx[name].is_finished_ok]
        for name in set(self.ctx.runs) - set(self.ctx.done):
            self.report(f"run {name} failed: FPMDWorkChain<{self.ctx[name].pk}>: {self.ctx[name].exit_message}")

    def results(self):
        """Thin the runs and set the held-out one apart."""
        done = {name: self.ctx[name].outputs for name in self.ctx.done}
        training = {name: run.frames for name, run in done.items() if name != VALIDATION}
        if training:
            self.out("frames", thin_runs(stride=self.inputs.stride, moves=orm.Bool(True), **training))
            ends = {
                f"{port}_{name}": run[port]
                for name, run in done.items()
                if name != VALIDATION
                for port in ("frames", "structure", "velocities")
            }
            self.out("starts", start_frames(**ends))
        if VALIDATION in done:
            self.out(
                "validation",
                thin_runs(stride=self.inputs.stride, moves=orm.Bool(False), validation=done[VALIDATION].frames),
            )
        self.out("remote_folders", {name: run.remote_folder for name, run in done.items()})
        if len(done) < self.inputs.quorum.value * len(self.ctx.runs) or VALIDATION not in done or not training:
            return self.exit_codes.ERROR_SUB_PROCESS_DYNAMICS.format(
                done=len(done), total=len(self.ctx.runs), validation="among them" if VALIDATION in done else "not"
            )
        return None

    @property
    def _strategy(self) -> type[localisation.Strategy]:
        return localisation.STRATEGIES[self.inputs.localisation.value]

    def _relaxation(self, run: str, *, structure, sites, carrier=None, source="relaxation", **given) -> AttributeDict:
        return adapter.job_inputs(
            AttributeDict(self.inputs.vasp), structure, carrier or self.inputs.carrier, stage="relax", run=run,
            sites=sites, incar=self.inputs.relaxation_incar.get_dict(), tags={"source": source}, **given,
        )  # fmt: skip


def seed_inputs(shared: Study) -> dict:
    """Inputs of this WorkChain from the protocols `seed` and `fpmd`."""
    seed, fpmd = shared.protocol("seed"), shared.protocol("fpmd")
    temperatures = seed["temperatures"] or shared.material["temperatures"]
    first = seed["first_seed"]
    return {
        "vasp": shared.vasp,
        "structure": shared.structure,
        "carrier": shared.carrier,
        "sites": orm.List(seed["sites"] or shared.sites),
        **localisation_inputs(shared, seed),
        "relaxation_incar": orm.Dict({"nsw": seed["relaxation_steps"], **seed["incar"]}),
        "temperatures": orm.List([float(t) for t in temperatures]),
        "seeds": orm.List(list(range(first, first + seed["runs_per_temperature"]))),
        "validation_temperature": orm.Float(seed["validation_temperature"] or max(temperatures)),
        "validation_seed": orm.Int(first + seed["runs_per_temperature"]),
        "steps": orm.Int(fpmd["steps"]),
        "segment_steps": orm.Int(fpmd["segment_steps"]),
        "stride": orm.Int(seed["stride"]),
        "dynamics_incar": orm.Dict({"potim": fpmd["timestep"], **fpmd["incar"]}),
        "quorum": orm.Float(seed["quorum"]),
        "max_participation": orm.Float(seed["max_participation"]),
    }


def localisation_inputs(shared: Study, seed: dict) -> dict:
    """Those of them that `localisation.expose` asks for; an impurity also needs its potential and U in `vasp`."""
    inputs = {
        "localisation": orm.Str(seed["localisation"]),
        "distortion": orm.Float(seed["distortion"]),
        "rattle": orm.Float(seed["rattle"]),
        "rattle_seed": orm.Int(seed["first_seed"]),
    }
    impurity = shared.material["substitute"]
    if seed["localisation"] == "substitution" and impurity:
        inputs |= {"substitute": orm.Str(impurity), "vasp": shared.vasp_with(impurity)}
    return inputs


def _usable(node) -> bool:
    """A relaxation whose last complete step can be gone on from, though NSW or NELM ran out."""
    codes = LeopoldVaspCalculation.exit_codes
    accepted = {0, codes.ERROR_IONIC_NOT_CONVERGED.status, codes.ERROR_ELECTRONIC_NOT_CONVERGED.status}
    return node.exit_status in accepted and "structure" in node.outputs


def seed_faults(inputs, structure: orm.StructureData) -> str | None:
    """What is wrong with `inputs` of this WorkChain for the host `structure`; None if nothing."""
    carrier, seeds = inputs["carrier"], inputs["seeds"].get_list()
    for stage, port in (("relax", "relaxation_incar"), ("md", "dynamics_incar")):
        message = study_faults(inputs["vasp"], structure, carrier, inputs[port].get_dict(), stage, port)
        if message:
            return message
    sites = inputs["sites"].get_list()
    if len(sites) != carrier["n"]:
        return f"sites: {sites} for {carrier['n']} carriers; give one site per carrier"
    for site in sites:
        if not isinstance(site, int) or not 0 <= site < len(structure.sites):
            return f"sites: {site} but the structure has atoms 0 to {len(structure.sites) - 1}"
        if structure.sites[site].kind_name not in carrier["species"]:
            return f"sites: atom {site} is {structure.sites[site].kind_name}; choose one of {carrier['species']}"
    if len(set(sites)) < len(sites):
        return f"sites: {sites} names an atom twice; give one site per carrier"
    if inputs["validation_seed"].value in seeds:
        return f"validation_seed: {inputs['validation_seed'].value} is also in seeds; the held-out run needs its own"
    if not seeds:
        return "seeds: empty; give one seed for every run at each temperature"
    temperatures = [*inputs["temperatures"].get_list(), inputs["validation_temperature"].value]
    if len(temperatures) < 2 or not all(isinstance(t, int | float) and t > 0 for t in temperatures):
        return f"temperatures: {temperatures[:-1]}, validation_temperature: {temperatures[-1]}; give kelvins above 0"
    for name in ("steps", "segment_steps", "stride"):
        if inputs[name].value < 1:
            return f"{name}: {inputs[name].value}; give at least 1"
    return localisation.faults(inputs, structure)


def _validate(inputs, _) -> str | None:
    if any(name not in inputs for name in ("structure", "sites", "carrier", "seeds", "validation_seed")):
        return None  # exposed elsewhere without them
    return seed_faults(inputs, inputs["structure"])
