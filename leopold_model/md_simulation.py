"""All replicas of a dynamics run: lists between compiled blocks, judgement of each block, files, restart."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_masses

from leopold_model import __version__
from leopold_model.config import MDConfig
from leopold_model.frames import Frame, content_hash
from leopold_model.graph import neighbours
from leopold_model.md_block import (
    Candidates,
    Fixed,
    Potential,
    Rows,
    State,
    candidates,
    make_block,
    padded,
    usual_distances,
)
from leopold_model.md_files import (
    CheckpointError,
    append_trajectory,
    create_trajectory,
    load_checkpoint,
    save_checkpoint,
    truncate_trajectory,
)
from leopold_model.md_integrators import KB, Integrator, at_rest, langevin, maxwell_boltzmann, nose_hoover, nve
from leopold_model.md_replica import Replica, judge
from leopold_model.tracks import TrackFile, write_track

CHECKPOINT = "checkpoint.h5"
RESULT = "result.json"
CHECKPOINT_SECONDS = 60.0
_ROOM = 1.05  # capacity of a list over what it holds: padding is paid every step, an overflow once


@dataclass(frozen=True)
class ForceField:
    """What moves the atoms: a potential (see `md_block.Potential`) with its parameters, and what it needs to know.

    `params` has a leading axis when there are several `networks`; `species` (n,) as the potential wants them,
    `reference` eV added to every energy, `images` as in `graph.neighbours`, `calibration` (3,) factors on the spreads
    (see `md_block.disagreement`), `total_moment` mu_B that the moments of all atoms usually add up to, None: not known.
    """

    potential: Potential
    params: object
    cutoff: float
    species: np.ndarray
    reference: float = 0.0
    images: str = "all"
    networks: int = 1
    calibration: tuple[float, float, float] = (1.0, 1.0, 1.0)
    total_moment: float | None = None


def simulate(
    config: MDConfig,
    frames: Sequence[Frame],
    field: ForceField,
    directory: Path,
    report: Callable[[str], None] | None = None,
    model_hash: str = "",
) -> dict:
    """Temperatures x replicas from `frames` (used cyclically); continues from a checkpoint in `directory`."""
    began = time.monotonic()
    simulation = Simulation(config, frames, field, directory, model_hash)
    simulation.resume()
    saved = time.monotonic()
    longest = 0.0
    while simulation.running:
        lap = time.monotonic()
        if config.max_wall_seconds is not None and lap - began + 1.2 * longest > config.max_wall_seconds:
            break
        simulation.advance()
        now = time.monotonic()
        # the first round compiles and says little about the next; it still counts against the walltime
        longest = max(longest, now - lap) if simulation.rounds > 1 else 0.0
        if now - saved > CHECKPOINT_SECONDS:
            simulation.save()
            saved = time.monotonic()
        if report:
            report(simulation.progress(now - began))
    return simulation.finish(time.monotonic() - began)


class Simulation:
    """All replicas of one run. On a CPU they advance one after the other, on an accelerator together (vmapped)."""

    def __init__(self, config: MDConfig, frames: Sequence[Frame], field: ForceField, directory: Path, model_hash: str):
        self.config, self.field, self.directory = config, field, directory
        self.frames = frames
        self.numbers = frames[0].numbers
        self.masses = atomic_masses[self.numbers]
        self.fingerprint = _fingerprint(config, frames, model_hash)
        self.dtype = jnp.dtype(config.dtype)
        self.free = ~np.isin(np.arange(len(self.numbers)), config.fixed)
        self.usual = usual_distances(frames, field.species, field.cutoff)
        integrator = make_integrator(config, self.masses)
        self.length = min(config.block, config.equilibration + config.steps)
        self.block = make_block(
            field.potential,
            integrator,
            field.species,
            self.masses,
            cutoff=field.cutoff,
            margin=config.hysteresis if config.charge_update == "hysteresis" else 0.0,
            length=self.length,
            n_tracked=max(min(config.n_tracked, len(self.numbers)), len(frames[0].carrier_sites)),
            dtype=self.dtype,
            images=field.images,
            networks=field.networks,
            free=self.free,
            least_moment=least_moment(config, field.total_moment, len(frames[0].carrier_sites)),
        )
        self.replicas = self._start(integrator)
        size = together(len(self.replicas))
        self.groups = [
            Group(self, self.replicas[k : k + size], config.skin) for k in range(0, len(self.replicas), size)
        ]
        self.waiting: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        self.rounds = 0
        self.warm = (0, 0.0)
        self.earlier_seconds = 0.0

    @property
    def running(self) -> bool:
        return any(r.status == "running" for r in self.replicas)

    def _start(self, integrator: Integrator) -> list[Replica]:
        config, replicas = self.config, []
        root = jax.random.key(config.seed)
        for index in range(len(config.temperatures) * config.replicas):
            temperature = config.temperatures[index // config.replicas]
            frame = self.frames[index % len(self.frames)]
            # velocities given with a frame serve once: two replicas must not run the same trajectory
            if frame.velocities is not None and index < len(self.frames):
                velocities = at_rest(frame.velocities, self.masses, self.free)
            else:
                rng = np.random.default_rng([config.seed, index])
                velocities = maxwell_boltzmann(self.masses, temperature, rng, self.free)
            state = State(
                frame.positions, velocities, np.array(frame.carrier_sites, np.int32), integrator.bath, np.int64(0)
            )
            key = np.asarray(jax.random.key_data(jax.random.fold_in(root, index)))
            fixed = Fixed(frame.cell, np.float64(KB * temperature), key, np.float64(self.field.reference))
            replicas.append(Replica(index, temperature, state, fixed, config))
        return replicas

    def advance(self) -> None:
        """One block of every running replica."""
        for group in self.groups:
            if any(r.status == "running" for r in group.replicas):
                for index, due in group.advance():
                    self.waiting.setdefault(index, []).append(due)
        self.rounds += 1

    # ------------------------------------------------------------------------------------------------ files

    def resume(self) -> None:
        """Continue from the checkpoint in the directory, or open new files when there is none."""
        path = self.directory / CHECKPOINT
        trajectory = self.directory / self.config.trajectory
        if not path.is_file():
            cells = [r.fixed.cell for r in self.replicas]
            create_trajectory(trajectory, self.numbers, cells, self.frames[0].pbc, self.config.track)
            return
        arrays = load_checkpoint(path, self.fingerprint)
        for replica in self.replicas:
            prefix = f"replica/{replica.index}/"
            replica.restore({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})
            self._check_restored(replica)
        for k, group in enumerate(self.groups):
            group.skin, pairs, listed = arrays[f"group/{k}"].tolist()
            group.pairs, group.listed = int(pairs), int(listed)
        self.earlier_seconds = float(arrays["seconds"])
        if not trajectory.is_file():
            raise CheckpointError(
                f"{trajectory} is missing beside the checkpoint: bring it back or delete the checkpoint"
            )
        truncate_trajectory(trajectory, [r.frames_written for r in self.replicas])

    def _check_restored(self, replica: Replica) -> None:
        done, asked = replica.rows, replica.total - self.config.equilibration
        if done > asked:
            raise CheckpointError(
                f"the checkpoint holds {done} steps at {replica.temperature:g} K, more than the {asked} asked for: "
                "raise more_steps, or delete the checkpoint to start again"
            )
        if replica.status == "running" and int(replica.state.step) > done + self.config.equilibration:
            raise CheckpointError(
                f"the checkpoint ends inside a block, after {done} steps at {replica.temperature:g} K, and cannot be "
                f"continued: make equilibration + steps and each of more_steps multiples of block = {self.length}"
            )

    def save(self, seconds: float = 0.0) -> None:
        """Trajectory, track and checkpoint as of now."""
        self._write()
        arrays: dict[str, np.ndarray] = {"seconds": np.array(self.earlier_seconds + seconds)}
        for k, group in enumerate(self.groups):
            arrays[f"group/{k}"] = np.array([group.skin, group.pairs, group.listed])
        for replica in self.replicas:
            arrays |= {f"replica/{replica.index}/{k}": v for k, v in replica.arrays().items()}
        save_checkpoint(self.directory / CHECKPOINT, self.fingerprint, arrays)

    def _write(self) -> None:
        frames = {
            index: (np.concatenate([rows for rows, _ in due]), np.concatenate([x for _, x in due]))
            for index, due in self.waiting.items()
        }
        cells = [r.fixed.cell for r in self.replicas]
        append_trajectory(self.directory / self.config.trajectory, frames, cells, self.config.timestep)
        self.waiting = {}
        first = self.frames[0]
        tracks = tuple(r.track() for r in self.replicas)
        write_track(
            self.directory / self.config.track,
            TrackFile(self.numbers, first.carrier, len(first.carrier_sites), tracks),
        )

    def finish(self, seconds: float) -> dict:
        """Write everything; the checkpoint stays where there is something left to run, or may be (keep_checkpoint)."""
        interrupted = self.running
        if interrupted or self.config.keep_checkpoint:
            self.save(seconds)
        for replica in self.replicas:
            if replica.status == "running":
                replica.status, replica.reason = "out_of_walltime", "max_wall_seconds reached: run again to continue"
            else:
                replica.cutter.close()
        if not interrupted:
            self._write()
            if not self.config.keep_checkpoint:
                (self.directory / CHECKPOINT).unlink(missing_ok=True)
        result = self.result(seconds)
        (self.directory / RESULT).write_text(json.dumps(result, indent=1) + "\n")
        return result

    def result(self, seconds: float) -> dict:
        """The content of `result.json`."""
        statuses = [r.status for r in self.replicas]
        order = ("out_of_walltime", "unstable", "carrier_lost", "carriers_merged", "finished")
        steps = sum(int(r.state.step) for r in self.replicas)
        total = self.earlier_seconds + seconds
        return {
            "status": next(s for s in order if s in statuses),
            "replicas": [r.summary() for r in self.replicas],
            "n_atoms": len(self.numbers),
            "carrier": self.frames[0].carrier,
            "n_carriers": len(self.frames[0].carrier_sites),
            "ensemble": self.config.ensemble,
            "charge_update": self.config.charge_update,
            "timestep": self.config.timestep,
            "seed": self.config.seed,
            "wall_time_s": total,
            "steps_per_second": steps / total if total > 0 else None,
            "device": str(jax.devices()[0].device_kind),
            "versions": {"aiida-leopold": __version__, "jax": jax.__version__},
            "model_sha256": self.fingerprint.split(":")[0],
        }

    def progress(self, elapsed: float) -> str:
        """One line: how far, how hot, where the carrier is, how long to go."""
        live = [r for r in self.replicas if r.status == "running"] or self.replicas
        total, n = sum(r.total for r in live), len(live)
        done = sum(min(int(r.state.step), r.total) for r in live)
        kelvin = np.mean([r.last_temperature for r in live])
        flips = sum(len(r.flips.rows) for r in self.replicas)
        line = f"md {done // n}/{total // n} steps  {n}/{len(self.replicas)} replicas  {kelvin:.0f} K  {flips} flips"
        if self.rounds == 1:
            self.warm = (done, elapsed)  # the first round compiles: no rate can be told from it
            return line
        rate = (done - self.warm[0]) / (elapsed - self.warm[1])
        if rate <= 0:
            return line
        return f"{line}  {rate:.1f} steps/s  ETA {timedelta(seconds=round((total - done) / rate))}"


class Group:
    """Replicas advanced by one call, with candidate lists of one common size."""

    def __init__(self, simulation: Simulation, replicas: list[Replica], skin: float):
        self.simulation, self.replicas, self.skin = simulation, replicas, skin
        self.pairs = self.listed = 0  # capacities: pairs within the cutoff, candidates
        self.params = simulation.field.params

    def advance(self) -> list[tuple[int, tuple[np.ndarray, np.ndarray]]]:
        """One block, redone until its lists held; frames due of each replica that kept it."""
        state = jax.tree.map(lambda *x: np.stack(x), *(r.state for r in self.replicas))
        fixed = jax.tree.map(lambda *x: np.stack(x), *(r.fixed for r in self.replicas))
        config = self.simulation.config
        while True:
            listed = self._lists()
            end, rows = self.simulation.block(self.params, fixed, state, listed, self.pairs)
            end, rows = jax.tree.map(np.asarray, (end, rows))
            rows = rows._replace(spread=rows.spread * np.array(self.simulation.field.calibration))
            each = [Rows(*(x[k] for x in rows)) for k in range(len(self.replicas))]
            verdicts = [
                judge(own, config.guards, replica.temperature, self.pairs) if replica.status == "running" else None
                for own, replica in zip(each, self.replicas, strict=True)
            ]
            if not any(v is not None and v.status == "redo" for v in verdicts):
                break
            self._enlarge(rows)
        due = []
        for k, (replica, verdict) in enumerate(zip(self.replicas, verdicts, strict=True)):
            if replica.status != "running":
                continue
            if verdict is not None:
                replica.stop(verdict, each[k])
                continue
            due.append((replica.index, replica.keep(each[k], State(*(x[k] for x in end)))))
        return due

    def _lists(self) -> Candidates:
        field, pbc = self.simulation.field, self.simulation.frames[0].pbc
        usual = self.simulation.usual

        def within(replica: Replica, skin: float) -> Candidates:
            return candidates(
                replica.state.positions, replica.fixed.cell, pbc, field.cutoff, skin, field.species, usual
            )

        found = [within(r, self.skin) for r in self.replicas]
        most = max(len(c.senders) for c in found)
        if most > self.listed:
            self.listed = _roomy(most)
        if not self.pairs:
            self.pairs = _roomy(
                max(
                    neighbours(r.state.positions, r.fixed.cell, pbc, field.cutoff, images=field.images).capacity
                    for r in self.replicas
                )
            )
        return jax.tree.map(lambda *x: np.stack(x), *(padded(c, self.listed, field.cutoff) for c in found))

    def _enlarge(self, rows: Rows) -> None:
        if (rows.pairs > self.pairs).any():
            self.pairs = _roomy(int(rows.pairs.max()))
        if not (rows.moved <= 1.0).all():
            self.skin *= 1.25
        for replica in self.replicas:
            replica.redone += 1


def make_integrator(config: MDConfig, masses: np.ndarray) -> Integrator:
    """The integrator a configuration asks for."""
    free = ~np.isin(np.arange(len(masses)), config.fixed)
    if config.ensemble == "nve":
        return nve(masses, config.timestep)
    if config.ensemble == "langevin":
        return langevin(masses, config.timestep, config.friction, free)
    return nose_hoover(masses, config.timestep, config.thermostat_time, free)


def least_moment(config: MDConfig, total: float | None, n_carriers: int) -> float | None:
    """What the moments of all atoms must add up to (mu_B) for no carrier to be missing; None: nobody asks."""
    if total is None or config.missing_moment is None or config.charge_update != "hysteresis":
        return None
    return total * (1 - config.missing_moment / n_carriers)


def together(n_replicas: int) -> int:
    """How many replicas one call advances: all on an accelerator; one on a CPU, where batching gains nothing."""
    return 1 if jax.default_backend() == "cpu" else n_replicas


def _roomy(count: int) -> int:
    return max(32, int(np.ceil(count * _ROOM / 32)) * 32)


def _fingerprint(config: MDConfig, frames: Sequence[Frame], model_hash: str) -> str:
    free = {"max_wall_seconds", "device", "more_steps", "keep_checkpoint"}
    content = json.dumps(config.model_dump(exclude=free), sort_keys=True) + content_hash(frames)
    return f"{model_hash}:{hashlib.sha256(content.encode()).hexdigest()}"
