"""Annealed areas: what is planned, what is read out of the chains, what the pictures and the report make of it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from aiida import orm
from aiida.common import AttributeDict
from aiida.common.folders import SandboxFolder
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory, WorkflowFactory
from click.testing import CliRunner

from leopold_model.cli import main
from leopold_model.patterns.annealing import AnnealConfig, anneal
from leopold_model.patterns.composition import Composition
from leopold_model.patterns.descriptor import DescriptorConfig
from leopold_model.patterns.labels import Labels, LabelSet
from leopold_model.patterns.lattice_file import load_lattice
from leopold_model.patterns.sampling import Sampler
from leopold_workflows import pattern_figures, pattern_report
from leopold_workflows.calculations.functions_patterns import _labels_node
from leopold_workflows.calculations.functions_patterns_surface import ranking_of
from leopold_workflows.data.patterns import PatternModelData, PatternRunData
from leopold_workflows.workchains.patterns import PatternsWorkChain
from leopold_workflows.workchains.patterns_surface import SurfacePatternWorkChain
from tests.patterns.random_models import random_model

THIN = load_lattice("tio2_110_thin")
CELL = THIN.supercell("4x2")
SETTINGS = {"treatments": ["none", "learned"], "sweep": [0.25], "ranked": 3, "starts": 2}


@pytest.fixture(scope="module")
def network():
    return random_model(THIN, DescriptorConfig(kind="free", cutoff=5.0), seed=3, scale=0.35)


@pytest.fixture
def model(network, tmp_path):
    network.save(tmp_path / "patterns.npz")
    return PatternModelData(tmp_path / "patterns.npz").store()


@pytest.fixture
def annealed(network, tmp_path):
    """A run node: `annealed(supercell, counts, delocalised)`."""

    def make(supercell, counts, delocalised=0):
        sampler = Sampler(network, THIN.supercell(supercell))
        config = AnnealConfig(temperature=600.0, moves=60, blocks=3, chains=4, seed=1)
        path = tmp_path / f"{supercell}-{delocalised}-{sum(counts.values())}.h5"
        anneal(sampler, Composition(THIN.lattice, counts, delocalised), config, checkpoint=path)
        return PatternRunData(path).store()

    return make


@pytest.fixture
def surface(aiida_localhost, leopold_code, model):
    """A SurfacePatternWorkChain that has been set up, with `calls` in place of submissions."""
    vasp = orm.InstalledCode(
        label="vasp", computer=aiida_localhost, filepath_executable="/nowhere/leopold-vasp-standin"
    ).store()

    def make(measured=None, **inputs):
        study = PatternsWorkChain.get_builder_from_protocol(
            vasp, leopold_code, material="tio2_110_thin", protocol="fast", measured=measured,
            overrides={"patterns": {"surface": {"area": "6x4", "counts": {"VO": 3, "polaron": 6}, **SETTINGS}}},
        )  # fmt: skip
        given = {
            **study.surface._inputs(prune=True), "model": model, "lattice": study.learn.lattice,
            "ranking": study.learn.supercell, "ranking_counts": study.learn.counts, **inputs,
        }  # fmt: skip
        process = instantiate_process(get_manager().get_runner(), SurfacePatternWorkChain, **given)
        process.calls = []
        process.submit = lambda cls, **inputs: process.calls.append((cls.__name__, inputs))
        process.to_context = lambda **nodes: process.ctx.update(nodes)
        process.setup()
        return process

    return make


def ended(run=None):
    return SimpleNamespace(
        pk=1, is_finished_ok=run is not None, is_excepted=False, is_killed=run is None, exit_message=None,
        outputs=AttributeDict({"run": run}),
    )  # fmt: skip


def test_three_kinds_of_annealing_are_planned_and_read(surface, annealed, tmp_path):
    csv = tmp_path / "vacancies.csv"
    csv.write_text("x,y\n0,0\n9.1,0.2\n18,6.2\n3.1,12.7\n")
    process = surface(orm.SinglefileData(csv))
    plan = process.ctx.plan
    assert plan["area_none"] == ["6x4", {"VO": 3}, 6, None]
    assert plan["area_learned"] == ["6x4", {"VO": 3, "polaron": 6}, 0, None]
    assert plan["sweep_01"] == ["6x4", {"VO": 6, "polaron": 12}, 0, None]
    while process.annealings_remain():
        process.run_annealings()
        assert len(process.ctx.running) <= process.inputs.max_concurrent.value
        for name in process.ctx.running:
            cell, counts, delocalised, _ = plan[name]
            process.ctx[name] = ended(annealed(cell, counts, delocalised))
        process.inspect_annealings()
    assert len({inputs["anneal"]["seed"].value for _, inputs in process.calls}) == len(plan) == 5
    assert process.results() is None
    found = process.outputs
    assert set(found["correlations"].get_dict()) == {"area_none", "area_learned", "sweep_01"}
    acf = found["correlations"]["area_learned"]
    assert acf["configurations"] == 4 and acf["concentration"] == pytest.approx(3 / 24) and len(acf["peak"]) == 2
    rows = found["ranked"]["learned"]
    energies = [row["energy_eV"] for row in rows]
    assert energies[0] == 0 and energies == sorted(energies) and len({row["key"] for row in rows}) == len(rows)
    assert all("VO-VO" in " ".join(row["motifs"]) or row["degeneracy"] for row in rows)
    # what goes on to dynamics has carriers on atoms that can take them
    for name in ("starts_lowest", "starts_sampled"):
        frames = found[name].get_frames()
        assert 0 < len(frames) <= 2 and all(len(frame.carrier_sites) == 4 for frame in frames)
        assert all((frame.numbers[list(frame.carrier_sites)] == 22).all() for frame in frames)
    assert found["measured_correlation"]["defects"] == 4

    drawn = pattern_figures.of_patterns(process.node, flat(found), tmp_path)
    assert {"correlation.png", "sweep.png", "measured.png", "map_area_learned.png"} <= set(drawn.values())
    assert all((tmp_path / name).is_file() for name in drawn.values())
    data = {"labels": {}, "rounds": [], "errors": [], "state": "Finished [0]", "exit_message": "", "pk": 1, "of": ""}
    data |= {"ranked": found["ranked"].get_dict(), "correlations": found["correlations"].get_dict()}
    text = pattern_report.markdown(data | {"wall_time_s": 60.0}, "SurfacePatternWorkChain", drawn)
    assert "| no carriers | 1 |" in text and "| area_learned | 0.125 | 4 |" in text


def flat(outputs):
    """As links name them."""
    runs = {f"runs__{name}": node for name, node in outputs["runs"].items()}
    return {name: node for name, node in outputs.items() if name != "runs"} | runs


def test_an_annealing_that_fails_leaves_what_the_others_gave(surface, annealed):
    process = surface()
    while process.annealings_remain():
        process.run_annealings()
        for name in process.ctx.running:
            cell, counts, delocalised, _ = process.ctx.plan[name]
            process.ctx[name] = ended(None if name == "area_none" else annealed(cell, counts, delocalised))
        process.inspect_annealings()
    code = process.results()
    assert code.status == 404 and "1 of 5" in code.message and "area_none, killed" in code.message
    assert set(process.outputs["correlations"].get_dict()) == {"area_learned", "sweep_01"}


def test_ranked_energies_are_confirmed_by_labels(annealed):
    run = annealed("4x2", {"VO": 2, "polaron": 4})
    patterns = run.get_patterns()
    best = patterns.lowest[np.argsort(patterns.lowest_energies)][:2]
    labels = _labels_node(LabelSet(THIN, (Labels(patterns.supercell, best, np.array([-3.0, -3.2])),)))
    first, second = ranking_of(orm.Dict(SETTINGS), labels, learned=run)["learned"][:2]
    assert (first["confirmed_eV"], second["confirmed_eV"]) == (pytest.approx(0.2), 0.0)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"area": "1x4"}, "too small"),
        ({"counts": {"VO": 3, "polaron": 5}}, "need 6 polaron"),
        ({"settings": {**SETTINGS, "sweep": [0.001]}}, "give a larger share"),
        ({"settings": {**SETTINGS, "treatments": ["half"]}}, "treatments"),
    ],
)
def test_bad_input_is_refused_before_any_job(surface, inputs, words):
    kinds = {"area": orm.Str, "counts": orm.Dict, "settings": orm.Dict}
    with pytest.raises(ValueError, match=words):
        surface(**{name: kinds[name](value) for name, value in inputs.items()})


# ---------------------------------------------------------------------------------------------------------- the jobs


def prepared(entry_point, leopold_code, options=None, **inputs):
    resources = {"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 1}}
    inputs = {"code": leopold_code, "metadata": {"options": resources | (options or {})}, **inputs}
    process = instantiate_process(get_manager().get_runner(), CalculationFactory(entry_point), **inputs)
    with SandboxFolder() as folder:
        calcinfo = process.prepare_for_submission(folder)
        return calcinfo, {name: Path(folder.get_abs_path(name)).read_text() for name in folder.get_content_list()}


def test_what_the_jobs_ask_for_is_what_the_command_does(leopold_code, model, tmp_path, monkeypatch, parse_job):
    """The command line of each search is run as it would be sent, and its result parsed."""
    monkeypatch.chdir(tmp_path)
    shared = {"model": model, "supercell": orm.Str("4x2"), "counts": orm.Dict({"VO": 2, "polaron": 4})}
    calcinfo, files = prepared(
        "leopold.patterns.suggest", leopold_code, **shared, seed=orm.Int(2), number=orm.Int(3), known=orm.List(["a"]),
        parameters=orm.Dict({"moves": 20, "blocks": 2, "chains": 2, "temperature": 900}),
    )  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    told = CliRunner().invoke(main, calcinfo.codes_info[0].cmdline_params, catch_exceptions=False)
    outputs, node = parse_job("leopold.patterns.suggest", {"result.json": told.stdout})
    assert node.is_finished_ok and outputs["configurations"].get_array("occupations").shape[1] == 40

    calcinfo, _ = prepared(
        "leopold.patterns.anneal", leopold_code, {"max_wallclock_seconds": 600}, **shared, seed=orm.Int(5),
        parameters=orm.Dict({"moves": 20, "blocks": 2, "ladder": [600, 900], "explore": "layers",
                             "reach": {"VO": [1, 0, 0]}, "coupled": 0.1, "members": 1}),
    )  # fmt: skip
    arguments = calcinfo.codes_info[0].cmdline_params
    assert "--max-seconds=540" in arguments
    hurried = ["--max-seconds=1e-9" if a == "--max-seconds=540" else a for a in arguments]
    stopped = CliRunner().invoke(main, hurried, catch_exceptions=False)
    assert stopped.exit_code == 10
    assert parse_job("leopold.patterns.anneal", {"result.json": stopped.stdout})[1].exit_status == 410
    told = CliRunner().invoke(main, arguments, catch_exceptions=False)
    files = {"result.json": told.stdout, "anneal.h5": (tmp_path / "anneal.h5").read_bytes()}
    outputs, node = parse_job("leopold.patterns.anneal", files)
    assert node.is_finished_ok
    assert outputs["run"].base.attributes.get("explore") == "layers"
    settings = outputs["run"].get_patterns().settings
    assert settings["reach"] == {"VO": [1, 0, 0]} and settings["config"]["seed"] == 5


@pytest.mark.parametrize(
    ("verb", "checkpoint"), [("train", "patterns.checkpoint"), ("suggest", "chains.h5"), ("anneal", "anneal.h5")]
)
def test_a_job_out_of_walltime_is_continued_from_its_checkpoint(
    verb, checkpoint, leopold_code, model, parse_job, tmp_path
):
    stopped = parse_job(f"leopold.patterns.{verb}", {"result.json": '{"status": "out_of_walltime"}'})[1]
    assert stopped.exit_status == 410
    base = WorkflowFactory(f"leopold.patterns.{verb}.base")
    assert base._process_class is CalculationFactory(f"leopold.patterns.{verb}")
    labels = _labels_node(LabelSet(THIN, (Labels(CELL, np.zeros((1, CELL.n_sites)), np.zeros(1)),)))
    given = {
        "train": {"labels": labels},
        "suggest": {"number": orm.Int(1), "known": orm.List(), "model": model, "supercell": orm.Str("4x2")},
        "anneal": {"model": model, "supercell": orm.Str("4x2")},
    }[verb] | ({} if verb == "train" else {"seed": orm.Int(1)})
    folder = orm.RemoteData(computer=leopold_code.computer, remote_path=str(tmp_path)).store()
    calcinfo, _ = prepared(
        f"leopold.patterns.{verb}", leopold_code, {"max_wallclock_seconds": 100}, parameters=orm.Dict(),
        restart_folder=folder, **given,
    )  # fmt: skip
    assert [(source, target) for _, source, target in calcinfo.remote_copy_list] == [
        (str(tmp_path / checkpoint), checkpoint)
    ]
    arguments = calcinfo.codes_info[0].cmdline_params
    assert "--max-seconds=90" in arguments
    # where the command line leaves its checkpoint is what is copied
    out = next(a.partition("=")[2] for a in arguments if a.startswith(("--output", "--checkpoint")))
    assert Path(out).with_suffix(Path(checkpoint).suffix).name == checkpoint


def test_a_training_gives_its_model_or_says_why_not(leopold_code, model, parse_job):
    report = '{"train": {"mae": 1.0}, "validation": {"mae": 1.0}, "test": {"mae": %s}}'
    whole = {"result.json": report % "2.0", "patterns.npz": model.get_content(mode="rb")}
    outputs, node = parse_job("leopold.patterns.train", whole)
    assert node.is_finished_ok and outputs["model"].base.attributes.get("members") == 1
    assert parse_job("leopold.patterns.train", whole | {"result.json": report % "NaN"})[1].exit_status == 311
    said = {"leopold.err": "leopold patterns: labels hold 2 different orbits: add labels"}
    _, node = parse_job("leopold.patterns.train", said)
    assert node.exit_status == 310 and "add labels" in node.exit_message
    with pytest.raises(ValueError, match="did you mean 'epochs'"):
        prepared("leopold.patterns.train", leopold_code, parameters=orm.Dict({"epoch": 3}))
