"""What a study would run, told before anything is submitted: VASP's input files stage by stage, jobs and node-hours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

import yaml
from aiida import orm
from aiida_vasp.data.potcar import PotcarData

from leopold_model.vasp.incar import incar_text
from leopold_workflows.calculations.functions_vasp import imposed_occupations
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.vasp import adapter

DAY = 86400  # s, of a job whose options give no limit


@dataclass(frozen=True)
class Work:
    """Jobs of one kind, on `nodes` nodes for at most `seconds` each; `steps` ionic steps of VASP in all of them, None
    for jobs of `leopold`."""

    name: str
    jobs: int
    nodes: int
    seconds: float
    steps: int | None = None


def preview(inputs: Mapping, step_seconds: float | None = None) -> str:
    """The text for a PolaronDynamicsWorkChain with these `inputs`; with `step_seconds`, what VASP needs for one ionic
    step, the node-hours that follow."""
    label = inputs["learn"]["label"]
    parts = [*_incars(inputs), kpoints_of(label["vasp"]["kpoints"]), potcars_of(label["vasp"], inputs["host"])]
    if "seed" in inputs and inputs["seed"]["localisation"].value == "omc":
        parts.append(_occmatrix(inputs))
    return "\n\n".join([*parts, table(list(_work(inputs)), step_seconds)])


def settings(inputs: Mapping) -> str:
    """All `inputs` of a process as YAML; of nodes that are data, what tells them apart."""
    return yaml.dump(_plain(inputs), Dumper=_Whole, allow_unicode=True).rstrip()


class _Whole(yaml.SafeDumper):
    """Writes a mapping that two sections share in both."""

    def ignore_aliases(self, data):
        return True


def _plain(value):
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, orm.Dict | orm.List):
        return value.get_dict() if isinstance(value, orm.Dict) else value.get_list()
    if isinstance(value, orm.BaseType):
        return value.value
    if isinstance(value, orm.AbstractCode):
        return value.full_label
    if isinstance(value, orm.StructureData):
        return f"{value.get_formula()}, {len(value.sites)} atoms"
    if isinstance(value, PotcarData):
        return value.full_name
    if isinstance(value, FrameSetData):
        return f"{value.n_frames} frames of {value.base.attributes.get('formula')}"
    if isinstance(value, orm.Node):
        return value.get_description() or f"{type(value).__name__} {value.pk or 'not stored'}"
    return value


def _incars(inputs: Mapping) -> Iterator[str]:
    host = inputs["host"]
    if "seed" in inputs:
        seed = inputs["seed"]
        given = (seed["vasp"], host, seed["carrier"])
        sites, relaxation = seed["sites"].get_list(), seed["relaxation_incar"].get_dict()
        if seed["localisation"].value == "omc":
            imposed = adapter.incar_tags(*given, "relax", relaxation, sites, imposed=True)
            yield incar_of("seed, relaxation with imposed occupations", imposed, "omc")
        yield incar_of("seed, relaxation", adapter.incar_tags(*given, "relax", relaxation, sites), "relax")
        hot = seed["temperatures"].get_list()
        motion = seed["dynamics_incar"].get_dict() | {
            "nsw": seed["segment_steps"].value, "tebeg": hot[0], "teend": hot[0],
        }  # fmt: skip
        name = f"seed, dynamics (TEBEG = TEEND = {', '.join(f'{t:g}' for t in hot)} K)"
        yield incar_of(name, adapter.incar_tags(*given, "md", motion, sites), "md")
    label = inputs["learn"]["label"]
    given, changes = (label["vasp"], host, label["carrier"]), label["incar"].get_dict() if "incar" in label else {}
    steps, sites = label["relaxation_steps"].value, _first_sites(host, label["carrier"])
    if label["localisation"].value == "omc":
        yield incar_of(
            "label, imposed occupations", adapter.incar_tags(*given, "static", changes, sites, imposed=True), "omc"
        )
    stage = "relax" if steps else "static"
    changes = changes | {"nsw": steps} if steps else changes
    yield incar_of("label, released", adapter.incar_tags(*given, stage, changes, sites), stage)


def incar_of(name: str, tags: Mapping, stage: str) -> str:
    """INCAR with its reasons, under its name."""
    return f"INCAR  {name}\n" + incar_text(tags, stage).rstrip()


def _first_sites(host: orm.StructureData, carrier: orm.Dict) -> list[int]:
    eligible = [i for i, site in enumerate(host.sites) if site.kind_name in carrier["species"]]
    return eligible[: carrier["n"]]


def kpoints_of(kpoints: orm.KpointsData) -> str:
    """The mesh in one line."""
    mesh, offset = kpoints.get_kpoints_mesh()
    return f"KPOINTS  {mesh[0]} x {mesh[1]} x {mesh[2]}, offset {offset[0]:g} {offset[1]:g} {offset[2]:g}"


def potcars_of(vasp: Mapping, host: orm.StructureData) -> str:
    """POTCARs in the order of the blocks of `host`, never what is in them."""
    rows = [
        f"  {kind:3} {vasp['potential'][kind].full_name}, {adapter.valence(vasp['potential'][kind]):g} electrons"
        for kind in adapter.kinds(host)
    ]
    return "\n".join(["POTCAR", *rows])


def _occmatrix(inputs: Mapping) -> str:
    seed = inputs["seed"]
    node, _ = imposed_occupations(inputs["host"], seed["carrier"], seed["vasp"]["hubbard"], seed["sites"].get_list())
    return "OCCMATRIX  of the seed; labels get the occupations it ends with\n" + node.get_content().rstrip()


def _work(inputs: Mapping) -> Iterator[Work]:
    """Every kind of job: what the seed needs, and the most that learning may ask for."""
    learn = inputs["learn"]
    label, settings = learn["label"], learn["settings"].get_dict()
    vasp = share_of(label["vasp"].get("options"))
    if "seed" in inputs:
        seed = inputs["seed"]
        seeds = len(inputs["configurations"].get_frames()) if "configurations" in inputs else 1
        relaxations = seeds * (2 if seed["localisation"].value in ("omc", "substitution") else 1)
        ionic = seed["relaxation_incar"].get_dict().get("nsw", 0)
        yield Work("seed, relaxations", relaxations, *vasp, relaxations * ionic)
        runs = seeds * (len(seed["temperatures"].get_list()) * len(seed["seeds"].get_list()) + 1)
        segments = ceil(seed["steps"].value / seed["segment_steps"].value)
        yield Work("seed, dynamics", runs * segments, *vasp, runs * seed["steps"].value)
    imposed, labels = label["localisation"].value == "omc", settings["max_labels"]
    released = max(label["relaxation_steps"].value, 1)
    yield Work(f"labels ({labels})", labels * (1 + imposed), *vasp, labels * (released + imposed))
    rounds = settings["max_rounds"]
    for name, jobs, job in (
        ("training", rounds, learn["train"]["training"]),
        ("exploration", rounds, learn["explore"]["dynamics"]["md"]),
        ("production", 1, inputs["transport"]["dynamics"]["md"]),
    ):
        yield Work(name, jobs, *share_of(job["metadata"]["options"]))


def share_of(options: Mapping | None) -> tuple[int, float]:
    """Nodes of a job and the seconds it may take."""
    options = options or {}
    return options.get("resources", {}).get("num_machines", 1), options.get("max_wallclock_seconds", DAY)


def table(work: list[Work], step_seconds: float | None) -> str:
    """Jobs and node-hours: at `step_seconds` per ionic step, and where every job used all of its time."""
    rows = [("at most", "jobs", "ionic steps", "node-hours", "by the time limits")]
    expected = limit = 0.0
    for w in work:
        most = w.jobs * w.nodes * w.seconds / 3600
        hours = None if w.steps is None or step_seconds is None else w.steps * step_seconds * w.nodes / 3600
        expected, limit = expected + (hours or 0), limit + most
        rows.append((w.name, w.jobs, "" if w.steps is None else w.steps, "" if hours is None else _hours(hours),
                     f"{most:.0f}"))  # fmt: skip
    rows.append(("all", sum(w.jobs for w in work), sum(w.steps or 0 for w in work),
                 _hours(expected) if step_seconds else "", f"{limit:.0f}"))  # fmt: skip
    lines = [f"{name:20} {jobs:>6} {steps:>12} {hours:>11} {most:>19}" for name, jobs, steps, hours, most in rows]
    if step_seconds is None:
        lines.append("node-hours of VASP: give --step-seconds, what one ionic step takes")
    return "\n".join(lines)


def _hours(hours: float) -> str:
    return f"{hours:.3g}" if hours < 100 else f"{hours:.0f}"
