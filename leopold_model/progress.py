"""Live progress of a training, and its log."""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

INTERVAL = 10.0  # s between lines where the output is not a terminal


class Progress:
    """One line that says where a training is: a bar on a terminal, a line now and then in a log file."""

    def __init__(self, epochs: int, first: int = 0):
        self.epochs, self.first = epochs, first
        self.printed = time.monotonic()
        self.warm: tuple[int, float] | None = None  # after the first epoch, which compiles: no rate can be told from it
        self.validation: dict = {}
        self.bar = None

    def __enter__(self):
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self.bar = Bar(BarColumn(24), TextColumn("{task.description}"), console=Console(stderr=True))
            self.task = self.bar.add_task("compiling", total=self.epochs, completed=self.first)
            self.bar.start()
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.stop()

    def update(self, row: dict) -> None:
        """Show `row`, a line of the log; validation errors stay on display until the next ones."""
        self.validation |= {k: v for k, v in row.items() if k.startswith("validation_")}
        now = time.monotonic()
        line = self.line(row, now)
        if self.bar is not None:
            self.bar.update(self.task, completed=row["epoch"], description=line)
        elif now - self.printed > INTERVAL or row["epoch"] == self.epochs:
            print(line, file=sys.stderr, flush=True)
            self.printed = now

    def line(self, row: dict, now: float) -> str:
        text = f"epoch {row['epoch']}/{self.epochs}  loss {row['loss']:.3e}"
        if v := self.validation:
            text += (
                f"  E {1e3 * v['validation_energy_per_atom']:.2f} meV/atom  F {1e3 * v['validation_forces']:.0f} meV/A"
                f"  m {v['validation_moments']:.3f}"
            )
            if v["validation_carrier_site"] is not None:
                text += f"  site {100 * v['validation_carrier_site']:.1f} %"
        if self.warm is None:
            self.warm = (row["epoch"], now)
            return text
        left = (self.epochs - row["epoch"]) * (now - self.warm[1]) / (row["epoch"] - self.warm[0])
        return text + f"  ETA {int(left) // 60}:{int(left) % 60:02d}"


def write_log(path: Path, history: Sequence[dict]) -> None:
    """The history as CSV; epochs without validation leave those columns empty."""
    names = list(dict.fromkeys(name for row in history for name in row))
    with open(path, "w", newline="") as handle:
        writer = csv.DictWriter(handle, names)
        writer.writeheader()
        for row in history:
            writer.writerow({k: v for k, v in row.items() if not (isinstance(v, float) and math.isnan(v))})
