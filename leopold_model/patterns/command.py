"""`leopold patterns`: where polarons and defects sit, from labelled configurations to correlation functions."""

from __future__ import annotations

import click

from leopold_model.patterns import learn_commands, outcome_commands, search_commands


@click.group("patterns", context_settings={"help_option_names": ["-h", "--help"]})
def command():
    """Learn where polarons, vacancies and dopants sit, and anneal large areas."""


for verb in (
    learn_commands.lattice,
    learn_commands.charges,
    learn_commands.collect,
    learn_commands.train,
    search_commands.suggest_command,
    search_commands.anneal_command,
    outcome_commands.correlate,
    outcome_commands.starts,
    outcome_commands.residence_command,
):
    command.add_command(verb)
