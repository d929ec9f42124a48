"""A group of commands that are imported when they are called, so that help and completion answer at once."""

from __future__ import annotations

import importlib

import click
from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """A group of `verbs`, name -> ("module:function", summary); help and completion show the summaries."""

    def __init__(self, *args, verbs: dict[str, tuple[str, str]], **kwargs):
        super().__init__(*args, **kwargs)
        self.verbs = verbs

    def list_commands(self, ctx):
        return list(self.verbs)

    def get_command(self, ctx, name):
        if name not in self.verbs:
            return None
        module, function = self.verbs[name][0].split(":")
        return getattr(importlib.import_module(module), function)

    def format_commands(self, ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.verbs.items()])

    def shell_complete(self, ctx, incomplete):
        found = [
            CompletionItem(name, help=summary)
            for name, (_, summary) in self.verbs.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)
