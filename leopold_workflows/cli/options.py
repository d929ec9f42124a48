"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path

import click
import yaml


def _read_yaml(_context, _option, path: Path | None):
    if path is None:
        return None
    try:
        return yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path} is not valid YAML: {error}") from None


overrides = click.option(
    "--overrides",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_read_yaml,
    help="YAML merged over the protocols: one mapping per protocol name.",
)
