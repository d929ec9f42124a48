"""`aiida-leopold demo`: the whole loop on one machine, from nothing to a first mobility, resumable at any point."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from leopold_workflows.cli import embedded, options
from leopold_workflows.cli.show import PATTERNS
from leopold_workflows.protocols import material

REFRESH_SECONDS = 2.0


@click.command()
@click.argument("system", default="mgo")
@click.option("--protocol", type=click.Choice(["fast", "balanced", "stringent"]), default="fast", show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Daemon workers.")
@options.overrides
def demo(system: str, protocol: str, folder: Path, workers: int, overrides: dict | None) -> None:
    """Run SYSTEM end to end against the VASP stand-in: a material (mgo, tio2, anatase, tio2_f, tio2_vo, tio2_110), or a
    YAML file like theirs of what the stand-in knows. Ctrl-C stops; the same command goes on.

    Example: aiida-leopold demo tio2 --folder demo
    """
    try:
        shown = material(system)["demo"]
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    console = Console()
    out = folder / Path(system).stem
    out.mkdir(parents=True, exist_ok=True)
    embedded.use(folder / ".aiida", lambda text: console.print(f"[dim]{text}[/dim]"))
    overrides = shown["overrides"] | (overrides or {})
    process, clock = _load_or_submit(shown["material"] or system, protocol, overrides, out, workers, console)
    if not process.is_terminated:
        try:
            _watch(process, clock, console)
        except KeyboardInterrupt:
            console.print("\nstopping the daemon; nothing is lost, run the same command to go on")
            raise SystemExit(130) from None
        finally:
            clock.save()
            embedded.stop_daemon()

    from leopold_workflows import pattern_report, report

    write_report = pattern_report.write_report if process.process_label in PATTERNS else report.write_report
    write_report(process, out, console, wall_time_s=clock.elapsed)
    raise SystemExit(0 if process.is_finished_ok else 1)


class Clock:
    """Wall time this study has run, added up over interruptions, beside the uuid of its process."""

    def __init__(self, path: Path, uuid: str, protocol: str, elapsed: float = 0.0):
        self.path, self.uuid, self.protocol, self._before, self._start = path, uuid, protocol, elapsed, time.time()

    @property
    def elapsed(self) -> float:
        return self._before + time.time() - self._start

    def save(self) -> None:
        state = {"uuid": self.uuid, "protocol": self.protocol, "elapsed_s": self.elapsed}
        self.path.write_text(json.dumps(state, indent=2))


def _load_or_submit(system: str, protocol: str, overrides: dict, out: Path, workers: int, console: Console):
    from aiida.common.exceptions import NotExistent
    from aiida.orm import load_node

    path = out / "state.json"
    if path.is_file():
        state = json.loads(path.read_text())
        try:
            process = load_node(state["uuid"])
        except NotExistent:
            path.unlink()
            return _load_or_submit(system, protocol, overrides, out, workers, console)
        clock = Clock(path, state["uuid"], state["protocol"], state["elapsed_s"])
        if process.is_terminated:
            console.print(f"process {process.pk} has already ended; its report follows. `rm -r {out}` starts afresh")
        else:
            console.print(f"going on with process {process.pk} after {clock.elapsed / 60:.1f} min")
            embedded.start_daemon(workers)
        return process, clock

    from aiida.engine import submit
    from aiida.plugins import WorkflowFactory

    started = time.time()
    vasp, leopold = embedded.codes()
    try:
        recipe = material(system)
        workchain = WorkflowFactory("leopold.patterns" if recipe["patterns"] else "leopold.dynamics")
        builder = workchain.get_builder_from_protocol(
            code_vasp=vasp,
            code_leopold=leopold,
            material=system,
            protocol=protocol,
            overrides=overrides,
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    embedded.start_daemon(workers)
    process = submit(builder)
    clock = Clock(path, process.uuid, protocol, time.time() - started)
    clock.save()
    console.print(
        f"[bold]{recipe['name']}[/bold], protocol {protocol}: {process.process_label}<{process.pk}> submitted to the "
        "daemon.\n"
        f"[dim]look inside with: AIIDA_PATH={out.parent / '.aiida'} .venv/bin/verdi process status {process.pk}[/dim]"
    )
    return process, clock


def _snapshot(process):
    from leopold_workflows import pattern_progress, progress

    return (pattern_progress if process.process_label in PATTERNS else progress).snapshot(process)


def _watch(process, clock: Clock, console: Console) -> None:

    if not console.is_terminal:
        _watch_lines(process, clock, console)
        return
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        while not process.is_terminated:
            live.update(_snapshot(process).panel(clock.elapsed))
            clock.save()
            time.sleep(REFRESH_SECONDS)
        live.update(_snapshot(process).panel(clock.elapsed))


def _watch_lines(process, clock: Clock, console: Console) -> None:
    """Without a terminal (logs, CI): a line whenever something changed, at most every ten seconds."""
    last = ""
    while not process.is_terminated:
        line = _snapshot(process).line()
        if line != last:
            console.print(f"{clock.elapsed / 60:6.1f} min  {line}", highlight=False, soft_wrap=True)
            last = line
        clock.save()
        time.sleep(10)
    console.print(f"{clock.elapsed / 60:6.1f} min  {_snapshot(process).line()}", highlight=False, soft_wrap=True)
