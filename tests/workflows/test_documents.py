"""Every code block of the documents: command lines are held against the commands there are, studies are launched as dry
runs, Python is executed, YAML is parsed by what reads it, and printed output is compared with what is printed.
"""

import contextlib
import io
import re
import shlex
import shutil
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import aiida
import aiida.engine
import pytest
import yaml
from aiida import orm
from aiida.cmdline.commands.cmd_verdi import verdi
from aiida.plugins import WorkflowFactory
from aiida_vasp.commands import cmd_aiida_vasp
from click.testing import CliRunner
from markdown_it import MarkdownIt

from leopold_model.checkpoint import save_model
from leopold_model.config import KINDS, parse
from leopold_workflows import contract
from leopold_workflows.cli import main as aiida_leopold
from leopold_workflows.machines import MachinesConfig, set_up
from leopold_workflows.protocols import FOLDER
from leopold_workflows.vasp import standin_potcar
from tests.command_lines import OURS, check
from tests.model.conftest import random_model

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for pattern in ("*.md", "docs/*.md", "examples/**/*.md") for path in ROOT.glob(pattern)
)
PROGRAMS = {**OURS, "verdi": verdi, "aiida-vasp": cmd_aiida_vasp}
SHELL = {"eval", "cd", "export", "pip"}
FORMATS = {"bash", "python", "yaml", "text"}


def blocks(document: str, kind: str) -> list[str]:
    """The fenced blocks of a `kind` in a document."""
    tokens = MarkdownIt("commonmark").parse((ROOT / document).read_text())
    return [token.content for token in tokens if token.type == "fence" and token.info == kind]


def command_lines(document: str) -> list[list[str]]:
    """Its shell commands in words, without comments and redirections."""
    lines = [line for block in blocks(document, "bash") for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line.split(" > ")[0], comments=True) for line in lines]
    return [line for line in words if line]


def with_blocks(kind: str) -> list[str]:
    return [document for document in DOCUMENTS if blocks(document, kind)]


def test_every_document_is_found_and_every_block_says_what_it_is():
    assert {"README.md", "workchains.md", "docs/theory.md", "examples/mgo/README.md"} <= set(DOCUMENTS)
    for document in DOCUMENTS:
        for token in MarkdownIt("commonmark").parse((ROOT / document).read_text()):
            assert token.type != "code_block", f"{document}: an indented block is not run: {token.content}"
            assert token.type != "fence" or token.info in FORMATS, f"{document}: {token.info!r}: {token.content}"


@pytest.mark.parametrize("document", with_blocks("bash"))
def test_commands_exist_with_their_options(document):
    for program, *rest in command_lines(document):
        if program in PROGRAMS:
            check(rest, PROGRAMS[program])
        elif program == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
            assert all(word in targets for word in rest if "=" not in word), rest
        elif program.endswith("python"):
            module = rest[rest.index("-m") + 1]
            assert find_spec(module), module
            assert all((ROOT / word).exists() for word in rest if word.startswith("tests/")), rest
        else:
            assert program in SHELL, f"{document}: {program} {rest}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / document).parent / target).exists(), f"{document}: {target}"
    for path, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", text):
        there = (ROOT / document).parent / path if path else ROOT / document
        headings = re.findall(r"^#+ (.*)$", there.read_text(), flags=re.M)
        assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}, (
            f"{document}: {anchor}"
        )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_exit_codes_are_those_of_a_process(document):
    known = {
        (code.status, label)
        for name in contract.PROCESSES
        for label, code in contract.process_class(name).spec().exit_codes.items()
    }
    for status, label in re.findall(r"(\d{3}) `(ERROR_\w+)`", (ROOT / document).read_text()):
        assert (int(status), label) in known, f"{document}: {status} {label}"


# ------------------------------------------------------------------------------------------------- in an AiiDA profile


@pytest.fixture(scope="module")
def machines(aiida_profile):
    """The profile of the documents: their computers and codes, and a family PBE.54 of placeholders."""
    aiida_profile.reset_storage()
    machines = parse(yaml.safe_load((ROOT / "examples/machines.yaml").read_bytes()), MachinesConfig)
    gpu = {"gpu": machines.computers["cluster"]}, {"leopold@gpu": machines.codes["leopold@cluster"]}
    for described in (machines, MachinesConfig(computers=gpu[0], codes=gpu[1])):
        assert all("made" in said for said in set_up(described))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standin_potcar, "FAMILY", "PBE.54")
        standin_potcar.install()
    yield machines
    aiida_profile.reset_storage()  # other files count on there being no such family


@pytest.fixture
def cluster(machines, monkeypatch):
    """It, loaded."""
    monkeypatch.setattr("aiida.load_profile", lambda *_: None)
    return machines


@pytest.fixture
def here(document, tmp_path, monkeypatch):
    """A folder with what the document's own has, and with the files of a user that it names."""
    folder = tmp_path / "user"
    if "examples" in document:
        shutil.copytree((ROOT / document).parent, folder)
        for study in folder.glob("*/*.yaml"):  # the page on all of them speaks of a study in its folder
            shutil.copy(study, folder)
        for structure in folder.glob("mgo/POSCAR"):
            shutil.copy(structure, folder)
    folder.mkdir(exist_ok=True)
    shutil.copy(FOLDER / "materials" / "anatase.yaml", folder / "my_host.yaml")
    monkeypatch.chdir(folder)
    return folder


def launches(document: str) -> list[list[str]]:
    """Its studies that need nothing from an earlier one."""
    ours = [words[1:] for words in command_lines(document) if words[:2] == ["aiida-leopold", "launch"]]
    return [words for words in ours if not {"PK", "--help", "..."} & set(words)]


@pytest.mark.parametrize("document", [document for document in with_blocks("bash") if launches(document)])
def test_studies_pass_a_dry_run_and_print_what_is_shown(document, cluster, here):
    done = {}
    for words in launches(document):
        words = [word for word in words if word != "--dry-run"]
        if " ".join(words) in done:
            continue
        result = CliRunner().invoke(aiida_leopold, [*words, "--dry-run"])
        assert result.exit_code == 0, f"{words}: {result.output[-2000:]}"
        done[" ".join(words)] = result.output
    for shown in blocks(document, "text"):
        assert any(shown in output for output in done.values()), f"{document} shows what is not printed:\n{shown}"


@pytest.mark.parametrize("document", ["examples/README.md"])
def test_machines_of_the_examples_are_set_up(document, cluster, here):
    """Once more: what is there is left alone, and the codes ask for what a study needs."""
    assert all("there already" in said for said in set_up(cluster))
    assert orm.load_code("vasp@cluster").default_calc_job_plugin == "leopold.vasp"
    assert orm.load_computer("cluster").scheduler_type == "core.slurm"


@pytest.mark.parametrize("document", with_blocks("yaml"))
def test_yaml_is_read_by_what_it_is_for(document, cluster):
    for block in blocks(document, "yaml"):
        content = yaml.safe_load(block)
        if "aiida-leopold" in content:
            _registry_entry(content["aiida-leopold"])
        elif "kind" in content:
            parse(content, KINDS[content["kind"]])
        else:
            _study_with(content)


def _registry_entry(entry: dict):
    """What AiiDA's plugin registry holds it against: every entry point of AiiDA begins with the prefix."""
    points = distribution("aiida-leopold").entry_points
    names = [point.name for point in points if point.group.startswith("aiida.")]
    assert names and all(name.startswith(f"{entry['entry_point_prefix']}.") for name in names)
    assert find_spec(entry["package_name"]) and entry["pip_url"] == "aiida-leopold"


def _study_with(overrides: dict):
    """The builder of a study with these overrides; ValueError where they have no place."""
    return WorkflowFactory("leopold.dynamics").get_builder_from_protocol(
        code_vasp=orm.load_code("vasp@cluster"), code_leopold=orm.load_code("leopold@gpu"), material="mgo",
        potential_family="PBE.54", overrides=overrides,
    )  # fmt: skip


@pytest.mark.parametrize("document", with_blocks("python"))
def test_python_runs(document, cluster, here, monkeypatch, request):
    submitted = []

    def submit(builder):
        ports = builder.process_class.spec().inputs
        error = ports.validate(ports.pre_process(builder._inputs(prune=True)))
        assert error is None, error
        submitted.append(builder)
        return SimpleNamespace(pk=1)

    monkeypatch.setattr(aiida.engine, "submit", submit)
    names = {"orm": orm, "WorkflowFactory": WorkflowFactory}
    names |= {"code_vasp": orm.load_code("vasp@cluster"), "code_leopold": orm.load_code("leopold@cluster")}
    text = "\n".join(blocks(document, "python"))
    if "PK" in text:
        names["PK"] = _finished(request).pk
    if "mgo.leopold" in text:
        save_model("mgo.leopold", random_model())
    if re.search(r"\bmodel\b,", text):
        names["model"] = request.getfixturevalue("make_model")().store()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(text, document, "exec"), names)
    assert "submit(" not in text or submitted
    if "overrides" in names:
        _study_with(names["overrides"])
    assert "print(" not in text or printed.getvalue().strip(), "it prints nothing"


def _finished(request) -> orm.WorkChainNode:
    """A study with every output, one of whose labels missed."""
    from tests.workflows.finished_study import study

    return study(model=request.getfixturevalue("make_model")().store(), **request.getfixturevalue("learned"))
