"""Both programs as a user meets them: help, examples, JSON, completion, what a terminal gets and a file does not."""

import re
import shlex
import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from tests.command_lines import OURS, check, commands

COMMANDS = dict(commands())
# what a script would go on with; the rest writes a file or runs until it is stopped
WITHOUT_JSON = {
    "aiida-leopold demo", "aiida-leopold setup", "aiida-leopold show report", "leopold convert", "leopold occmatrix",
    "leopold patterns charges", "leopold plot", "leopold reduce-vasp", "leopold validate",
}  # fmt: skip


def examples(command: click.Command) -> list[list[str]]:
    """Command lines of its help, in words; a line goes on until an empty one."""
    found = re.findall(r"Examples?: (.*?)(?:\n\n|\Z)", command.help or "", flags=re.S)
    lines = [line for block in found for line in re.split(r";\s", " ".join(block.split()))]
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_that_works(name):
    program, *path = name.split()
    said = CliRunner().invoke(OURS[program], [*path, "--help"])
    assert said.exit_code == 0 and "Example" in said.output, said.output
    given = examples(COMMANDS[name])
    assert given
    for words in given:
        assert " ".join(words).startswith(name), f"the example of {name} is of another command: {words}"
        check(words[1:], OURS[program])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is(name):
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option):
            told = option.help or option.show_default or isinstance(option.type, click.Choice)
            assert told, f"{name} {option.opts[0]} has neither a help nor a default that tells"


def test_what_machines_read_is_json():
    without = {
        name for name, command in COMMANDS.items() if "--json" not in [o for p in command.params for o in p.opts]
    }
    assert without == WITHOUT_JSON


def test_help_and_completion_of_the_programs_load_neither_jax_nor_aiida():
    code = (
        "import sys; from importlib import import_module; from click.shell_completion import BashComplete\n"
        "main = import_module(sys.argv[1]).main\n"
        "print([item.value for item in BashComplete(main, {}, sys.argv[2], '').get_completions([], '')])\n"
        "main(['--help'], standalone_mode=False)\n"
        "sys.exit(str({'jax', 'aiida', 'ase'} & set(sys.modules)))"
    )
    for module, program in (("leopold_model.cli", "leopold"), ("leopold_workflows.cli", "aiida-leopold")):
        run = subprocess.run([sys.executable, "-c", code, module, program], capture_output=True, text=True)
        assert run.stderr.strip() == "set()", run.stderr
        completed, shown = run.stdout.split("\n", 1)
        for verb, (_, summary) in import_module(module).VERBS.items():
            assert repr(verb) in completed and re.search(rf"\b{verb}\s+{re.escape(summary)}", shown)


def test_the_demo_chooses_its_profile_before_aiida_is_loaded():
    code = (
        "import sys; from leopold_workflows.cli import demo; from leopold_workflows.protocols import material\n"
        "material('tio2_110'); sys.exit('aiida' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_verb_or_option_ends_with_2_and_names_it():
    for program, arguments in (("leopold", ["trian"]), ("aiida-leopold", ["show", "statu"]), ("leopold", ["md", "-x"])):
        said = CliRunner().invoke(OURS[program], arguments)
        assert said.exit_code == 2 and arguments[-1].lstrip("-") in said.output


@pytest.mark.parametrize(
    ("program", "words", "incomplete", "expected"),
    [
        ("leopold", [], "tr", ["train", "transport"]),
        ("leopold", ["patterns"], "an", ["anneal"]),
        ("leopold", ["hops"], "--tau", ["--tau-min"]),
        ("aiida-leopold", ["launch", "dynamics"], "--pot", ["--potential-family"]),
        ("aiida-leopold", ["launch", "dynamics", "mgo", "--protocol"], "st", ["stringent"]),
    ],
)
def test_the_shell_completes(program, words, incomplete, expected):
    complete = BashComplete(OURS[program], {}, program, f"_{program.upper().replace('-', '_')}_COMPLETE")
    assert [found.value for found in complete.get_completions(words, incomplete)] == expected
