"""One replica on the host: its state between blocks, its record, and the guards that stop it.

A block is judged before anything of it is kept. A replica stopped by a guard ends with its last good block.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from leopold_model.config import GuardConfig, MDConfig
from leopold_model.frames import ONE_CARRIER
from leopold_model.md_block import Fixed, Rows, State
from leopold_model.md_charge import FlipLog
from leopold_model.md_windows import WindowCutter
from leopold_model.tracks import ReplicaTrack

_SERIES = ("sites", "moments", "carriers")  # every row
_STRIDED = ("potential", "temperature", "conserved")  # every stride rows
SPREADS = {"max_energy_spread": "eV/atom", "max_force_spread": "eV/Angstrom", "max_moment_spread": "mu_B"}


@dataclass(frozen=True)
class Verdict:
    """Why a block cannot be kept: `status` 'unstable', 'carrier_lost' or 'carriers_merged', or 'redo' when its pair
    list was too small. `row` is the first of the block that broke the guard."""

    status: str
    reason: str
    row: int = 0


def judge(rows: Rows, guards: GuardConfig, target: float, capacity: int) -> Verdict | None:
    """The verdict on a block of B steps, None when it is good. Steps after one with a bad list say nothing."""
    bad_list = ~(rows.moved <= 1.0) | (rows.pairs > capacity)
    valid = slice(0, int(np.argmax(bad_list)) if bad_list.any() else len(bad_list))
    finite = np.isfinite(rows.conserved) & np.isfinite(rows.temperature)
    # a first step with a bad list still has positions, and a NaN there would be redone for ever
    if not finite[valid].all() or not np.isfinite(rows.positions[valid.stop : valid.stop + 1]).all():
        return _unstable(~finite[valid], "energy or velocities became NaN or infinite")
    hot = rows.temperature[valid] > guards.max_temperature_factor * target
    if hot.any():
        return _unstable(
            hot,
            f"temperature reached {rows.temperature[valid].max():.0f} K, limit {guards.max_temperature_factor:g} x "
            f"{target:g} K (guards.max_temperature_factor)",
        )
    close = rows.distance[valid] < guards.min_distance
    if close.any():
        return _unstable(
            close,
            f"two atoms came within {rows.distance[valid].min():.3f} Angstrom, limit {guards.min_distance:g} "
            "(guards.min_distance)",
        )
    near = rows.approach[valid] < guards.min_approach
    if near.any():
        return _unstable(
            near,
            f"two atoms came within {rows.approach[valid].min():.2f} of the shortest distance of their species in the "
            f"start frames, limit {guards.min_approach:g} (guards.min_approach)",
        )
    for k, (name, unit) in enumerate(SPREADS.items()):
        limit, spread = getattr(guards, name), rows.spread[valid, k]
        if limit is not None and (spread > limit).any():
            return _unstable(
                spread > limit,
                f"the members of the model disagree by {spread.max():.3g} {unit}, limit {limit:g} (guards.{name}): "
                "this is not like what it was trained on",
            )
    if bad_list.any():
        return Verdict("redo", "pair list stale or too small")
    largest, least = rows.moments[:, 0], rows.moments[:, rows.carriers.shape[1] - 1]
    if least.max() < guards.min_moment:
        if np.median(largest) > ONE_CARRIER and rows.carriers.shape[1] > 1:
            return Verdict(
                "carriers_merged",
                f"one atom has {np.median(largest):.2f} mu_B, more than one carrier brings, and a carrier's moment "
                f"stayed below {guards.min_moment:g} mu_B (guards.min_moment) for {len(least)} steps",
            )
        return Verdict(
            "carrier_lost",
            f"the moment of a carrier stayed below {guards.min_moment:g} mu_B (guards.min_moment) for "
            f"{len(least)} steps; its largest was {least.max():.3f}",
        )
    return None


def _unstable(broken: np.ndarray, reason: str) -> Verdict:
    return Verdict("unstable", reason, int(np.argmax(broken)) if broken.any() else len(broken))


@dataclass
class Replica:
    """State, constants and record of one replica. Rows are production steps; row 0 follows the equilibration."""

    index: int
    temperature: float
    state: State
    fixed: Fixed
    config: MDConfig
    status: str = "running"
    reason: str = ""
    redone: int = 0
    series: dict[str, list[np.ndarray]] = field(default_factory=lambda: {k: [] for k in (*_SERIES, *_STRIDED)})
    position_sum: np.ndarray | float = 0.0
    temperature_sum: float = 0.0
    extremes: np.ndarray = field(default_factory=lambda: np.array([0.0, np.inf]))  # hottest K, closest Angstrom
    spread: np.ndarray = field(default_factory=lambda: np.zeros(len(SPREADS)))  # the largest so far
    rows: int = 0
    frames_written: int = 0
    missing: int = 0  # rows whose moments missed a carrier
    start: np.ndarray | None = None

    def __post_init__(self):
        self.flips = FlipLog()
        self.cutter = WindowCutter(self.config.window, self.config.timestep)

    @property
    def total(self) -> int:
        return self.config.total_steps(self.index)

    def keep(self, rows: Rows, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Take a good block and its end state; returns the row numbers (F,) and positions (F, n, 3) of frames due."""
        step = int(self.state.step)
        self.state = state
        self.extremes = np.array(
            [max(self.extremes[0], rows.temperature.max()), min(self.extremes[1], rows.distance.min())]
        )
        self.spread = np.maximum(self.spread, rows.spread.max(axis=0))
        begin = max(self.config.equilibration - step, 0)
        end = min(self.total - step, len(rows.conserved))
        if int(state.step) >= self.total:
            self.status = "finished"
        first = step + begin - self.config.equilibration
        if end <= begin:
            return np.zeros(0, np.int64), rows.positions[:0]
        rows = Rows(*(x[begin:end] for x in rows))
        if self.start is None:
            self.start = rows.positions[0].astype(float)
        numbers = np.arange(first, first + len(rows.conserved))
        due = numbers % self.config.stride == 0
        for name in _SERIES:
            self.series[name].append(np.array(getattr(rows, name)))
        for name in _STRIDED:
            self.series[name].append(np.array(getattr(rows, name)[due]))
        self.position_sum = self.position_sum + rows.positions.sum(axis=0, dtype=float)
        self.temperature_sum += float(rows.temperature.sum())
        self.missing += int(np.count_nonzero(rows.missing))
        known = len(self.flips.rows)
        self.flips.add(first, rows.carriers, rows.conserved)
        changes = [row for row, *_ in self.flips.rows[known:]]
        self.cutter.add(rows.positions, rows.occupations, rows.carriers, rows.spread[:, 1], changes)
        self.rows += len(numbers)
        self.frames_written += int(due.sum())
        return numbers[due], rows.positions[due]

    def stop(self, verdict: Verdict, rows: Rows) -> None:
        """End with the last good block. What led from there to where a guard broke is kept apart, to learn from."""
        self.status, self.reason = verdict.status, verdict.reason
        if verdict.status == "unstable":
            first = int(self.state.step) - self.config.equilibration
            good = Rows(*(x[: verdict.row] for x in rows))
            self.cutter.end(first, good.positions, good.occupations, good.carriers, good.spread[:, 1])

    @property
    def last_temperature(self) -> float:
        """Instantaneous temperature of the newest row kept at the stride, K; the target before there is one."""
        return (
            float(self.series["temperature"][-1][-1])
            if self.rows and len(self.series["temperature"][-1])
            else self.temperature
        )

    def column(self, name: str) -> np.ndarray:
        """All rows of a series so far."""
        parts = self.series[name]
        if len(parts) > 1:
            self.series[name] = parts = [np.concatenate(parts)]
        return parts[0] if parts else np.zeros((0, self.config.n_tracked) if name in _SERIES[:2] else 0)

    def track(self) -> ReplicaTrack:
        """The record as it goes into the track file."""
        n, n_carriers = len(self.state.positions), len(self.state.carriers)
        return ReplicaTrack(
            temperature=self.temperature,
            replica=self.index,
            timestep=self.config.timestep,
            seed=self.config.seed,
            sites=self.column("sites"),
            moments=self.column("moments"),
            carrier=self.column("carriers").reshape(-1, n_carriers),
            cell=self.fixed.cell,
            positions=np.array(self.state.positions) if self.start is None else self.start,
            mean_positions=np.asarray(self.position_sum) / self.rows if self.rows else None,
            stride=self.config.stride,
            energy=self.column("potential"),
            kinetic_temperature=self.column("temperature"),
            conserved=self.column("conserved"),
            windows=self.cutter.windows(n, n_carriers),
            ending=self.cutter.ending(n, n_carriers),
            status=self.status,
        )

    def summary(self) -> dict:
        """What the result file says of this replica."""
        return {
            "replica": self.index,
            "temperature": self.temperature,
            "status": self.status,
            "reason": self.reason,
            "steps": self.rows,
            "time_fs": self.rows * self.config.timestep,
            "mean_temperature": self.temperature_sum / self.rows if self.rows else None,
            "max_temperature": float(self.extremes[0]),
            "min_distance": float(self.extremes[1]) if np.isfinite(self.extremes[1]) else None,
            **dict(zip(SPREADS, self.spread.tolist(), strict=True)),
            "conserved_drift_meV_per_atom_ps": self._drift(),
            **self.flips.summary(self.config.timestep),
            "missing_moment_steps": self.missing,
            "windows": len(self.cutter.done),
            "windows_missed": self.cutter.n_missed,
            "blocks_redone": self.redone,
            "seed": self.config.seed,
        }

    def _drift(self) -> float | None:
        """Slope of the conserved quantity once the jumps of charge-state changes are put back, meV/atom/ps."""
        conserved = np.array(self.column("conserved"), dtype=float)
        if len(conserved) < 3:
            return None
        rows = np.arange(len(conserved)) * self.config.stride
        if self.flips.rows:
            at = np.array([row for row, *_ in self.flips.rows])
            # one entry per slot that moved: those of one row share one jump
            at, first = np.unique(at, return_index=True)
            lost = np.concatenate([[0.0], np.cumsum(np.array(self.flips.released)[first])])
            conserved += lost[np.searchsorted(at, rows, side="right")]
        slope = np.polyfit(rows * self.config.timestep * 1e-3, conserved, 1)[0]
        return float(1e3 * slope / len(self.state.positions))

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint needs; `restore` takes it back."""
        flips = self.flips
        return {
            **{f"state/{k}": np.asarray(v) for k, v in self.state._asdict().items()},
            **{f"series/{k}": self.column(k) for k in self.series if self.rows},
            **{f"windows/{k}": v for k, v in self.cutter.arrays().items()},
            "flips/rows": np.array(flips.rows, dtype=np.int64).reshape(-1, 4),
            "flips/released": np.array(flips.released),
            "flips/last": np.array(flips.last_carriers if self.rows else [], dtype=np.int32),
            "flips/sums": np.array([flips.noise2, flips.quiet, flips.last_conserved]),
            "sums/positions": np.asarray(self.position_sum),
            "sums/scalars": np.array([self.temperature_sum, *self.extremes, *self.spread]),
            "sums/counts": np.array([self.rows, self.frames_written, self.redone, self.missing]),
            "text": np.array([self.status, self.reason], dtype="S300"),
            **({} if self.start is None else {"start": self.start}),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Back to what `arrays` gave."""
        self.state = State(**{k: arrays[f"state/{k}"] for k in State._fields})
        self.rows, self.frames_written, self.redone, self.missing = (int(x) for x in arrays["sums/counts"])
        if self.rows:
            self.series = {k: [arrays[f"series/{k}"]] for k in self.series}
            self.flips.last_carriers = arrays["flips/last"]
        self.cutter.restore({k.removeprefix("windows/"): v for k, v in arrays.items() if k.startswith("windows/")})
        self.flips.rows = arrays["flips/rows"].tolist()
        self.flips.released = arrays["flips/released"].tolist()
        noise2, quiet, conserved = arrays["flips/sums"]
        self.flips.noise2, self.flips.quiet, self.flips.last_conserved = float(noise2), int(quiet), float(conserved)
        self.position_sum = arrays["sums/positions"]
        scalars = arrays["sums/scalars"]
        self.temperature_sum, self.extremes, self.spread = float(scalars[0]), scalars[1:3], scalars[3:]
        self.status, self.reason = (x.decode() for x in arrays["text"])
        self.start = arrays.get("start")
        if self.status == "finished" and self.rows < self.total - self.config.equilibration:
            self.status = "running"
