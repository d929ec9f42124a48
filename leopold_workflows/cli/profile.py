"""The AiiDA profile that a command works in."""

from __future__ import annotations

import aiida
import click
from aiida.common.exceptions import ConfigurationError


def load() -> None:
    """Load the default profile, or that of AIIDA_PROFILE; one message where there is none."""
    try:
        aiida.load_profile()
    except ConfigurationError as error:
        raise click.ClickException(
            f"no AiiDA profile to work in ({str(error).splitlines()[0]}): `verdi presto` makes one, "
            "`verdi profile list` shows those there are"
        ) from None
