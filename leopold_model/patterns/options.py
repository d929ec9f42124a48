"""Options that the verbs of `leopold patterns` share, and what is read out of them."""

from __future__ import annotations

import json
import time
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

from leopold_model.config import ConfigError
from leopold_model.patterns import PatternError
from leopold_model.patterns.lattice_file import Instance

PATH = click.Path(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
SUPERCELL = click.option("--supercell", required=True, help="A name in the lattice file, or repeats: 24x16.")
COUNTS = click.option("--counts", help="As VO=4,polaron=8; those of the lattice file for a named supercell.")
SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
MAX_SECONDS = click.option(
    "--max-seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop when they are over, with exit code 10: the same command goes on.",
)
OUT_OF_WALLTIME = 10  # exit code, that of `leopold train` and `leopold md`


def refuses(function):
    """Bad input ends a verb with its message, not with a traceback."""

    @wraps(function)
    def run(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (PatternError, ConfigError) as error:
            raise SystemExit(f"leopold patterns: {error}") from None

    return run


def stopped(where: str, as_json: bool, **told) -> NoReturn:
    """End a verb whose time was up behind an epoch or a block, which the same command goes on from."""
    told = {"status": "out_of_walltime"} | told
    click.echo(json.dumps(told) if as_json else f"stopped behind {where}: the same command goes on")
    raise SystemExit(OUT_OF_WALLTIME)


class Told:
    """Blocks done, on standard error, at most every ten seconds."""

    def __init__(self):
        self.at = time.monotonic()

    def __call__(self, done: int, blocks: int) -> None:
        if time.monotonic() - self.at > 10:
            click.echo(f"block {done}/{blocks}", err=True)
            self.at = time.monotonic()


def composition_of(instance: Instance, supercell: str, counts: str | None, delocalised: int = 0):
    """That of --counts, or the usual one of a named supercell."""
    from leopold_model.patterns.composition import Composition

    if counts is None:
        return instance.composition(supercell)
    pairs = [pair(text, "--counts") for text in counts.split(",")]
    return Composition(instance.lattice, {k: int(number(v, "--counts")) for k, v in pairs}, delocalised)


def settings_of(config: Path | None, settings: tuple[str, ...]) -> dict[str, Any]:
    """Those of a YAML file, then single ones; `descriptor.kind=free` reaches into a section."""
    from leopold_model.config import ConfigError, read_yaml

    try:
        data = (read_yaml(config.read_bytes(), str(config)) or {}) if config else {}
    except (OSError, ConfigError) as error:
        raise PatternError(f"--config {config}: cannot be read ({error})") from None
    for text in settings:
        name, value = pair(text, "--set")
        section = data
        *path, last = name.split(".")
        for part in path:
            section = section.setdefault(part, {})
        section[last] = read_yaml(value, f"--set {name}")
    return data


def pair(text: str, option: str) -> tuple[str, str]:
    """NAME=VALUE, taken apart; PatternError names the option."""
    name, equals, value = text.partition("=")
    if not equals:
        raise PatternError(f"{option} {text!r}: expected name=value")
    return name.strip(), value


def number(text: str, option: str) -> float:
    """A number of an option; PatternError names both."""
    try:
        return float(text)
    except ValueError:
        raise PatternError(f"{option}: {text!r} is not a number") from None


def triple(name: str, text: str) -> tuple[float, float, float]:
    """Three numbers X,Y,Z of --reach for a species."""
    values = tuple(number(v, "--reach") for v in text.split(","))
    if len(values) != 3:
        raise PatternError(f"--reach {name}={text}: expected three numbers, parent vectors along each axis")
    return values
