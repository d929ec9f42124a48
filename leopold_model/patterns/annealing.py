"""Many chains at once: annealing towards the lowest energies, sampling at one temperature, parallel tempering.

Annealing cools every chain by itself, geometrically from `start_temperature` to `temperature`. Tempering holds one
chain at each of `ladder` and lets neighbouring temperatures exchange after every block, with probability
min(1, exp((1/kT_i - 1/kT_j)(E_i - E_j))), which leaves every Boltzmann distribution as it is. A run that stops between
two blocks and is started again ends as if it had not stopped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from ase.units import kB

from leopold_model.foreign import open_hdf5
from leopold_model.patterns import PatternError
from leopold_model.patterns.composition import Composition, random_configuration
from leopold_model.patterns.lattice_file import Instance, lattice_from_text
from leopold_model.patterns.sampling import Chain, Sampler
from leopold_model.patterns.settings import AnnealConfig
from leopold_model.patterns.supercell import Supercell

FORMAT_VERSION = 1
SAVE_EVERY = 10.0  # seconds between checkpoints


@dataclass
class Annealing:
    """Chains on their way: `energies` and `temperatures` (blocks, chains) in eV and K at the end of each block done,
    `order` (chains,) which place of the ladder each chain holds, `exchanged` and `offered` (chains - 1,) between
    neighbouring places. `last` and `lowest` (chains, n_sites), `lowest_energies` (chains,). With `keep_passed`,
    `passed` has both of every block done, (2 chains, n_sites) each."""

    sampler: Sampler
    config: AnnealConfig
    chains: list[Chain]
    rng: np.random.Generator
    order: np.ndarray
    energies: list[np.ndarray] = field(default_factory=list)
    temperatures: list[np.ndarray] = field(default_factory=list)
    exchanged: np.ndarray = field(default_factory=lambda: np.zeros(0))
    offered: np.ndarray = field(default_factory=lambda: np.zeros(0))
    keep_passed: bool = False
    passed: list[np.ndarray] = field(default_factory=list)

    @property
    def last(self) -> np.ndarray:
        """Where the chains are; with a ladder, in the order of its temperatures."""
        return np.array([self.chains[k].occupations for k in np.argsort(self.order)])

    @property
    def lowest(self) -> np.ndarray:
        """The configuration of lowest energy that each chain saw."""
        return np.array([chain.best for chain in self.chains])

    @property
    def lowest_energies(self) -> np.ndarray:
        """Their energies, eV."""
        return np.array([chain.best_energy for chain in self.chains])

    def block(self, workers: int) -> None:
        """Run one block of every chain, then offer exchanges."""
        done = len(self.energies)
        n_moves = self.config.moves // self.config.blocks
        temperatures = self.config.temperatures(done)[self.order]
        if workers > 1:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(lambda pair: pair[0].run(pair[1], n_moves), zip(self.chains, temperatures, strict=True)))
        else:
            for chain, temperature in zip(self.chains, temperatures, strict=True):
                chain.run(temperature, n_moves)
        self.energies.append(np.array([chain.energy for chain in self.chains]))
        self.temperatures.append(temperatures)
        if self.keep_passed:
            self.passed.append(np.concatenate([self.last, self.lowest]))
        if self.config.ladder:
            self._exchange(done % 2)

    def _exchange(self, first: int) -> None:
        """Offer neighbouring temperatures an exchange, every other pair by turns."""
        beta = 1 / (kB * np.array(self.config.ladder))
        for place in range(first, len(beta) - 1, 2):
            i, j = (int(np.flatnonzero(self.order == p)[0]) for p in (place, place + 1))
            exponent = (beta[place] - beta[place + 1]) * (self.chains[i].energy - self.chains[j].energy)
            self.offered[place] += 1
            if self.rng.random() < np.exp(min(0.0, exponent)):
                self.order[i], self.order[j] = self.order[j], self.order[i]
                self.exchanged[place] += 1

    @property
    def finished(self) -> bool:
        """Whether all blocks are done."""
        return len(self.energies) == self.config.blocks

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        return f"block {len(self.energies)} of {self.config.blocks}"

    def summary(self) -> dict:
        """JSON-ready."""
        found = {
            "status": "finished" if self.finished else "out_of_walltime",
            "chains": len(self.chains),
            "moves": self.chains[0].moves,
            "acceptance": [round(chain.accepted / max(chain.moves, 1), 4) for chain in self.chains],
            "lowest_energy_eV": float(self.lowest_energies.min()),
            "lowest_energies_eV": self.lowest_energies.tolist(),
            "last_energies_eV": self.energies[-1].tolist(),
            "last_temperatures_K": self.temperatures[-1].tolist(),
        }
        if self.config.ladder:
            found["exchange_rates"] = (self.exchanged / np.maximum(self.offered, 1)).tolist()
        return found


def start(sampler: Sampler, composition: Composition, config: AnnealConfig) -> Annealing:
    """Chains at random configurations; every chain has a stream of random numbers of its own from the one seed."""
    streams = np.random.default_rng(config.seed).spawn(config.n_chains + 1)
    chains = [Chain(sampler, random_configuration(sampler.supercell, composition, rng), rng) for rng in streams[:-1]]
    return _new(sampler, config, chains, streams[-1])


def anneal(
    sampler: Sampler,
    composition: Composition,
    config: AnnealConfig,
    *,
    checkpoint: str | Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    max_seconds: float | None = None,
    keep_passed: bool = False,
) -> Annealing:
    """Run all blocks. A `checkpoint` of the same run that is already there is continued, of another one refused; it is
    the result file at the end (see `read_patterns`). `workers` threads share the chains; the result is the same. After
    `max_seconds` the run stops behind a block, to be continued. `keep_passed` keeps what every block ended with."""
    began = time.monotonic()
    run = None
    if checkpoint is not None and Path(checkpoint).exists():
        run = _resume(sampler, composition, config, Path(checkpoint), keep_passed)
    run = run or start(sampler, composition, config)
    run.keep_passed = keep_passed
    saved = time.monotonic()
    while len(run.energies) < config.blocks:
        run.block(workers)
        if progress is not None:
            progress(len(run.energies), config.blocks)
        out_of_time = max_seconds is not None and time.monotonic() - began > max_seconds
        due = time.monotonic() - saved > SAVE_EVERY or len(run.energies) == config.blocks or out_of_time
        if checkpoint is not None and due:
            _save(Path(checkpoint), run, composition)
            saved = time.monotonic()
        if out_of_time:
            break
    return run


def _new(sampler: Sampler, config: AnnealConfig, chains: list[Chain], rng: np.random.Generator) -> Annealing:
    pairs = np.zeros(max(len(config.ladder) - 1, 0))
    return Annealing(sampler, config, chains, rng, np.arange(len(chains)), exchanged=pairs.copy(), offered=pairs.copy())


def _settings(sampler: Sampler, composition: Composition, config: AnnealConfig, keep_passed: bool) -> dict:
    """What a run is; two runs with equal settings give equal results."""
    return {
        "config": config.model_dump(mode="json"),
        "matrix": sampler.supercell.matrix.tolist(),
        "counts": {k: int(v) for k, v in composition.counts.items()},
        "delocalised": composition.delocalised,
        "explore": sampler.explore,
        "reach": {k: list(v) for k, v in sampler.reach.items()},
        "coupled": sampler.coupled,
        "model": sampler.model.fingerprint,
        "keep_passed": keep_passed,
    }


def _save(path: Path, run: Annealing, composition: Composition) -> None:
    """Write the state of a run; the old file is replaced only by a whole new one."""
    state = {
        "chains": [chain.to_dict() for chain in run.chains],
        "rng": run.rng.bit_generator.state,
        "exchanged": run.exchanged.tolist(),
        "offered": run.offered.tolist(),
    }
    new = path.with_suffix(path.suffix + ".new")
    with h5py.File(new, "w") as file:
        file.attrs.update(format="leopold-anneal", version=FORMAT_VERSION, lattice=run.sampler.model.instance.text)
        file.attrs["settings"] = json.dumps(
            _settings(run.sampler, composition, run.config, run.keep_passed), sort_keys=True
        )
        file["state"] = json.dumps(state)
        file["order"], file["matrix"] = run.order, run.sampler.supercell.matrix
        file["energies"], file["temperatures"] = np.array(run.energies), np.array(run.temperatures)
        file["last"], file["lowest"] = run.last, run.lowest
        file["lowest_energies"] = run.lowest_energies
        if run.keep_passed:
            file.create_dataset("passed", data=np.array(run.passed, dtype=np.int8), compression="gzip")
    os.replace(new, path)


def _resume(
    sampler: Sampler, composition: Composition, config: AnnealConfig, path: Path, keep_passed: bool
) -> Annealing:
    with _open(path) as file:
        settings = json.loads(str(file.attrs["settings"]))
        wanted = json.loads(json.dumps(_settings(sampler, composition, config, keep_passed)))
        different = [key for key in wanted if settings.get(key) != wanted[key]]
        if different:
            raise PatternError(f"{path} holds a run with other {', '.join(different)}: choose another output file")
        state = json.loads(file["state"][()])
        rng = np.random.default_rng()
        rng.bit_generator.state = state["rng"]
        run = _new(sampler, config, [Chain.from_dict(sampler, data) for data in state["chains"]], rng)
        run.order = file["order"][:]
        run.energies, run.temperatures = list(file["energies"][:]), list(file["temperatures"][:])
        run.exchanged, run.offered = np.array(state["exchanged"]), np.array(state["offered"])
        run.passed = list(file["passed"][:]) if keep_passed else []
    return run


@dataclass(frozen=True)
class Patterns:
    """What a run found: see `Annealing`."""

    instance: Instance
    supercell: Supercell
    settings: dict
    energies: np.ndarray
    temperatures: np.ndarray
    last: np.ndarray
    lowest: np.ndarray
    lowest_energies: np.ndarray


def read_patterns(path: str | Path) -> Patterns:
    """The result file of `anneal`."""
    with _open(Path(path)) as file:
        instance = lattice_from_text(str(file.attrs["lattice"]), str(path))
        arrays = {name: file[name][:] for name in ("energies", "temperatures", "last", "lowest", "lowest_energies")}
        supercell = Supercell(instance.lattice, file["matrix"][:])
        return Patterns(instance, supercell, json.loads(str(file.attrs["settings"])), **arrays)


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    with open_hdf5(path, PatternError, "give the file of `leopold patterns anneal`") as file:
        if file.attrs.get("format") != "leopold-anneal" or file.attrs["version"] > FORMAT_VERSION:
            raise PatternError(f"{path} is no result of `leopold patterns anneal` of version {FORMAT_VERSION} or older")
        yield file
