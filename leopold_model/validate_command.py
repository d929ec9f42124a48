"""`leopold validate`: check a configuration before anything is submitted."""

from __future__ import annotations

from pathlib import Path

import click

from leopold_model.config import KINDS, ConfigError, load
from leopold_model.patterns.lattice_file import LatticeConfig
from leopold_model.patterns.settings import PatternTrainConfig, SearchConfig

ALL = KINDS | {"lattice": LatticeConfig, "patterns-train": PatternTrainConfig, "patterns-anneal": SearchConfig}


@click.command("validate")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(list(ALL)), help="What to read it as; its own `kind` key if not given.")
def command(config, kind):
    """Check CONFIG against its schema: prints OK, or every error and exits with 2.

    Example: leopold validate train.yaml
    """
    try:
        load(config, kind, ALL)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    click.echo(f"OK: {config} is a valid configuration")
