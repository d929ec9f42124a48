"""Command lines as written in help texts and documents, held against the commands that exist."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click

from leopold_model.cli import main as leopold
from leopold_workflows.cli import main as aiida_leopold

OURS = {"leopold": leopold, "aiida-leopold": aiida_leopold}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every verb of both programs: ('leopold patterns train', its command)."""
    for name, program in OURS.items():
        yield from _below(name, program)


def _below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command, info_name=name)
    for verb in command.list_commands(context):
        found = command.get_command(context, verb)
        assert found is not None, f"{name} lists {verb} and does not have it"
        yield from _below(f"{name} {verb}", found)


def check(words: list[str], program: click.Command) -> None:
    """AssertionError unless `words` (without the program's name) are a verb, options and arguments that it takes.

    Values are converted where that asks for no file: a choice, a number, a range.
    """
    command, rest, context = program, list(words), click.Context(program)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        verb = rest.pop(0)
        found = command.get_command(context, verb)
        assert found is not None, f"no verb {verb!r} in {shlex.join(words)}"
        context = click.Context(found, info_name=verb, parent=context)
        command = found
    if {"-h", "--help", "--version"} & set(rest):
        return
    try:
        values, left, _ = command.make_parser(context).parse_args(list(rest))
    except click.UsageError as error:
        raise AssertionError(f"{shlex.join(words)}: {error.format_message()}") from None
    assert not left, f"{shlex.join(words)}: {left} is more than it takes"
    for parameter in command.params:
        value = values.get(parameter.name)
        if value is None or value == ():
            # a study file says what its command line leaves out; reading it is a test of its own
            in_file = any(word.endswith(".yaml") for word in rest if not word.startswith("-"))
            assert in_file or not parameter.required, (
                f"{shlex.join(words)}: {parameter.get_error_hint(context)} is missing"
            )
        elif isinstance(parameter.type, click.Choice | click.types.IntParamType | click.types.FloatParamType):
            for one in value if parameter.multiple or parameter.nargs != 1 else [value]:
                try:
                    parameter.type.convert(one, parameter, context)
                except click.UsageError as error:
                    # PK stands for the number of a node
                    assert one == "PK", f"{shlex.join(words)}: {error.format_message()}"
