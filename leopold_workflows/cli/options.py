"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path

import click

from leopold_model.config import ConfigError, read_yaml


class _Overrides(click.ParamType):
    """A YAML file, laid over what a study file has in its place."""

    name = "file"

    def convert(self, value, param, ctx):
        if isinstance(value, dict):
            return value
        study = (ctx.default_map or {}).get("overrides") or {}
        if not Path(value).is_file():
            self.fail(f"file {value!r} does not exist", param, ctx)
        try:
            return laid_over(study, read_yaml(Path(value).read_bytes(), value))
        except ConfigError as error:
            raise click.ClickException(str(error)) from None


def laid_over(below, above):
    """Nested mappings as one, `above` where both say something."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: laid_over(below.get(key), value) for key, value in above.items()}


overrides = click.option(
    "--overrides", type=_Overrides(), help="YAML laid over study file and protocols: one mapping per protocol."
)
