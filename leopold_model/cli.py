"""The `leopold` command: everything that runs without AiiDA. Each verb lives beside the code it drives."""

from __future__ import annotations

import importlib

import click

# verb -> "module:function"; imported only when called, so that `leopold --help` and light verbs never load jax
VERBS = {
    "train": "leopold_model.train:command",
    "evaluate": "leopold_model.evaluate:command",
    "md": "leopold_model.md:command",
    "hops": "leopold_model.hops_command:command",
    "transport": "leopold_model.transport_command:command",
    "barrier": "leopold_model.barrier_command:command",
    "plot": "leopold_model.plot_command:command",
    "import-vasp": "leopold_model.vasp.import_command:command",
    "reduce-vasp": "leopold_model.vasp.reduce_command:command",
    "occmatrix": "leopold_model.vasp.occmatrix_command:command",
    "convert": "leopold_model.convert_command:command",
    "patterns": "leopold_model.patterns.command:command",
    "validate": "leopold_model.validate_command:command",
}


class _Lazy(click.Group):
    def list_commands(self, ctx):
        return list(VERBS)

    def get_command(self, ctx, name):
        if name not in VERBS:
            return None
        module, function = VERBS[name].split(":")
        return getattr(importlib.import_module(module), function)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aiida-leopold")
def main():
    """Learn how small polarons hop, and where they sit: train, evaluate, run dynamics, find hops, anneal patterns."""
