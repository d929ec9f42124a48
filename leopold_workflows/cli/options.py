"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path

import click

from leopold_model.config import ConfigError, read_yaml


class _Overrides(click.ParamType):
    """A YAML file, or what a study file has in its place."""

    name = "file"

    def convert(self, value, param, ctx):
        if isinstance(value, dict):
            return value
        if not Path(value).is_file():
            self.fail(f"file {value!r} does not exist", param, ctx)
        try:
            return read_yaml(Path(value).read_bytes(), value)
        except ConfigError as error:
            raise click.ClickException(str(error)) from None


overrides = click.option(
    "--overrides", type=_Overrides(), help="YAML merged over the protocols: one mapping per protocol name."
)
