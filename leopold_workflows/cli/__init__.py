"""The `aiida-leopold` command. Commands are imported when called: the demo chooses its profile before aiida loads."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "data": "leopold_workflows.cli.data:data",
    "demo": "leopold_workflows.cli.demo:demo",
    "launch": "leopold_workflows.cli.launch:launch",
    "setup": "leopold_workflows.cli.setup:setup",
    "show": "leopold_workflows.cli.show:show",
}


class _Lazy(click.Group):
    def list_commands(self, ctx):
        return list(COMMANDS)

    def get_command(self, ctx, name):
        if name not in COMMANDS:
            return None
        module, function = COMMANDS[name].split(":")
        return getattr(importlib.import_module(module), function)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aiida-leopold")
def main():
    """Launch and watch polaron hopping studies in AiiDA."""
