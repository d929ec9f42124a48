"""The `aiida-leopold` command. Commands are imported when called: the demo chooses its profile before aiida loads."""

from __future__ import annotations

import click

from leopold_model.lazy_group import LazyGroup

VERBS = {
    "data": ("leopold_workflows.cli.data:data", "Bring data into the profile."),
    "demo": ("leopold_workflows.cli.demo:demo", "A whole study with the VASP stand-in, in a folder of its own."),
    "launch": ("leopold_workflows.cli.launch:launch", "Submit a study to the daemon."),
    "setup": ("leopold_workflows.cli.setup:setup", "Computers and codes from a YAML file."),
    "show": ("leopold_workflows.cli.show:show", "Look at a study."),
}


@click.group(cls=LazyGroup, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aiida-leopold")
def main():
    """Launch and watch polaron hopping studies in AiiDA."""
