"""Hop windows: structures at full resolution around each change of charge state, so that hops can go back to DFT.

Every step of the last hundred femtoseconds or so is kept on the host; when the charge state changes, a window of fixed
length around that step is cut out of them once its end has been reached. Changes that fall inside the half-width of
the previous window's centre belong to that window: a crossing that flickers gives one window, not ten. Where a guard
stopped the run, what led there is a window of its own, for that is what the model has to learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leopold_model.config import WindowConfig
from leopold_model.tracks import Windows

_FIELDS = ("positions", "occupations", "carrier", "force_spread")


class WindowCutter:
    """Cuts windows of one replica: `size` frames, `stride` rows apart, the change in the middle.

    Near the start and the end of a run the window is shifted so that all its frames exist; `n_missed` counts the
    windows that came after `max_windows` or for which the run was too short.
    """

    def __init__(self, config: WindowConfig, timestep: float):
        self.stride = max(1, round(config.stride / timestep))
        self.half = max(1, round(config.half_width / (self.stride * timestep)))
        self.size = 2 * self.half + 1
        self.limit = config.max_windows
        self.pending: list[int] = []  # rows of changes whose window is not complete
        self.centre = -(10**9)  # row of the last change that opened a window
        self.first = 0  # row of the oldest kept frame
        self.recent: dict[str, np.ndarray] = {}
        self.done: list[dict[str, np.ndarray]] = []
        self.last: dict[str, np.ndarray] = {}  # before a guard stopped the run
        self.n_missed = 0

    def add(self, positions, occupations, carrier, force_spread, changes: Sequence[int]) -> None:
        """Rows in sequence: (B, n, 3), (B, n, 2), (B, n_carriers), (B,); `changes` the rows where the carrier moved."""
        new = dict(zip(_FIELDS, (positions, occupations, carrier, force_spread), strict=True))
        self.recent = {k: np.concatenate([self.recent[k], v]) if self.recent else np.array(v) for k, v in new.items()}
        for row in sorted(set(changes)):
            if row - self.centre > self.half * self.stride:
                self.centre = row
                if len(self.done) + len(self.pending) < self.limit:
                    self.pending.append(row)
                else:
                    self.n_missed += 1
        end = self.first + len(self.recent["carrier"])
        while self.pending and self._start(self.pending[0]) + self._span < end:
            self._cut(self._start(self.pending.pop(0)))
        keep = min([end - self._span - 1, *(self._start(row) for row in self.pending)])
        drop = max(keep - self.first, 0)
        self.recent = {k: v[drop:].copy() for k, v in self.recent.items()}
        self.first += drop

    def end(self, first: int, positions, occupations, carrier, force_spread) -> None:
        """A guard stopped the run: good rows from `first` on that are not part of it, shapes as in `add`. The last of
        them end a window as long as the others, or as there are frames."""
        steps = np.arange(first, first + len(positions))
        rows = dict(zip(_FIELDS, (positions, occupations, carrier, force_spread), strict=True))
        if self.recent:
            rows = {k: np.concatenate([self.recent[k], v]) for k, v in rows.items()}
            steps = np.arange(self.first, self.first + len(rows["carrier"]))
        taken = np.arange(len(steps))[:: -self.stride][: self.size][::-1]
        if len(taken):
            self.last = {**{k: np.array(v[taken]) for k, v in rows.items()}, "step": steps[taken]}

    def close(self) -> None:
        """The run is over: windows still open are shifted back to end with it."""
        end = self.first + len(self.recent.get("carrier", ()))
        for row in self.pending:
            start = min(self._start(row), end - 1 - self._span)
            if start >= self.first:
                self._cut(start)
            else:
                self.n_missed += 1
        self.pending = []

    def windows(self, n_atoms: int, n_carriers: int) -> Windows:
        """All windows cut so far."""
        return _stacked(self.done, self.size, n_atoms, n_carriers, self.n_missed)

    def ending(self, n_atoms: int, n_carriers: int) -> Windows | None:
        """The window before a guard stopped the run; None where none did."""
        return _stacked([self.last], len(self.last["step"]), n_atoms, n_carriers) if self.last else None

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint needs."""
        state = {
            "pending": np.array(self.pending, dtype=np.int64),
            "counts": np.array([self.centre, self.first, self.n_missed]),
        }
        state |= {f"recent_{k}": v for k, v in self.recent.items()}
        state |= {f"last_{k}": v for k, v in self.last.items()}
        return state | {f"done_{k}": np.array([w[k] for w in self.done]) for k in (*_FIELDS, "step") if self.done}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Back to what `arrays` gave."""
        self.pending = state["pending"].tolist()
        self.centre, self.first, self.n_missed = (int(x) for x in state["counts"])
        self.recent = {k: state[f"recent_{k}"] for k in _FIELDS if f"recent_{k}" in state}
        self.last = {k.removeprefix("last_"): v for k, v in state.items() if k.startswith("last_")}
        done = {k: state[f"done_{k}"] for k in (*_FIELDS, "step") if f"done_{k}" in state}
        self.done = [{k: v[w] for k, v in done.items()} for w in range(len(done["step"]))] if done else []

    @property
    def _span(self) -> int:
        return (self.size - 1) * self.stride

    def _start(self, row: int) -> int:
        return max(row - self.half * self.stride, 0)

    def _cut(self, start: int) -> None:
        rows = np.arange(self.size) * self.stride
        window = {k: v[start - self.first + rows].copy() for k, v in self.recent.items()}
        self.done.append({**window, "step": start + rows})


def _stacked(windows: Sequence[dict], size: int, n_atoms: int, n_carriers: int, n_missed: int = 0) -> Windows:
    shapes = {
        "positions": (n_atoms, 3), "occupations": (n_atoms, 2), "carrier": (n_carriers,), "force_spread": (),
        "step": (),
    }  # fmt: skip
    stack = {k: np.array([w[k] for w in windows]).reshape(-1, size, *shape) for k, shape in shapes.items()}
    occupations = stack["occupations"]
    return Windows(
        positions=stack["positions"],
        step=stack["step"].astype(np.int64),
        carrier=stack["carrier"].astype(np.int32),
        moments=occupations[..., 0] - occupations[..., 1],
        occupations=occupations,
        force_spread=stack["force_spread"].astype(np.float32),
        n_missed=n_missed,
    )
