"""The `leopold` command: everything that runs without AiiDA. Each verb lives beside the code it drives."""

from __future__ import annotations

import click

from leopold_model.lazy_group import LazyGroup

VERBS = {
    "train": ("leopold_model.train:command", "Train a model on labelled frames."),
    "evaluate": ("leopold_model.evaluate:command", "Errors of a model on labelled frames."),
    "md": ("leopold_model.md:command", "Dynamics with a model; its moments move the carriers."),
    "hops": ("leopold_model.hops_command:command", "Hops of a trajectory, by symmetry-inequivalent pathway."),
    "transport": ("leopold_model.transport_command:command", "Diffusion, mobility, rates, activation energy."),
    "barrier": ("leopold_model.barrier_command:command", "Barrier of one hop with a model."),
    "plot": ("leopold_model.plot_command:command", "Figures of a trajectory."),
    "import-vasp": ("leopold_model.vasp.import_command:command", "Frames from VASP runs."),
    "reduce-vasp": ("leopold_model.vasp.reduce_command:command", "What frames need of a large OUTCAR, as HDF5."),
    "occmatrix": ("leopold_model.vasp.occmatrix_command:command", "OCCMATRIX from a run that holds the carrier."),
    "convert": ("leopold_model.convert_command:command", "A published LEOPOLD model as a model file."),
    "patterns": ("leopold_model.patterns.command:command", "Where polarons, vacancies and dopants sit."),
    "validate": ("leopold_model.validate_command:command", "Check a configuration file."),
}


@click.group(cls=LazyGroup, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aiida-leopold")
def main():
    """Learn how small polarons hop, and where they sit: train, evaluate, run dynamics, find hops, anneal patterns."""
