"""Cost of one step of dynamics: our compiled loop beside an ASE loop around our network, and beside other codes.

    python benchmarks/md.py [--network default wide fast published] [--dtype float32|float64] [--systems mgo64 tio2_288]
                            [--json]

CPU time on one thread, minimum over repeats, lists and guards and recording included, compilation left out. `model` is
the network's evaluation and gradient alone, scanned over a list without padding; `outside` is the part of our step
spent on anything else. The parameters are random: the cost does not depend on them. The network `published` is the one
of the published LEOPOLD models and of the jax-md peer, on the same pairs. The other codes are in `peers.py`; they
keep their own precision whatever `--dtype` says, and are timed when they are installed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ase import units
from ase.build import bulk
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.spacegroup import crystal
from peers import PEERS, installed, package

from leopold_model import published
from leopold_model.calculator import LeopoldCalculator
from leopold_model.checkpoint import Model
from leopold_model.config import MDConfig
from leopold_model.frames import Frame
from leopold_model.graph import neighbours
from leopold_model.md import force_field
from leopold_model.md_integrators import maxwell_boltzmann
from leopold_model.md_simulation import Simulation
from leopold_model.network import Spec, init

# cutoff, layers, scalars, vectors; `default` is what `leopold train` makes unasked, `wide` has the peers' channels
NETWORKS = {"default": (5.0, 3, 32, 8), "wide": (5.0, 3, 42, 8), "fast": (4.5, 2, 32, 8)}
PATIENCE = 10.0  # s of CPU time; a peer with a slower step would take over a minute and is left out
TEMPERATURE = 10.0  # K: the atoms stay where they are, so that every block has the same pairs
FIXED = {"min_distance": 0.1, "min_approach": 0.0, "max_temperature_factor": 100.0, "min_moment": 0.0}


def crystals():
    """The cells everything is repeated from."""
    rutile = crystal(
        ["Ti", "O"], [(0, 0, 0), (0.3053, 0.3053, 0)], spacegroup=136, cellpar=[4.594, 4.594, 2.959, 90, 90, 90]
    )
    return {"mgo": bulk("MgO", "rocksalt", a=4.22, cubic=True), "tio2": rutile}


def structures():
    """MgO 64, TiO2 288 and 2304 atoms, rattled."""
    cells = crystals()
    made = {
        "mgo64": cells["mgo"].repeat(2),
        "tio2_288": cells["tio2"].repeat((4, 3, 4)),
        "tio2_2304": cells["tio2"].repeat((8, 6, 8)),
    }
    for atoms in made.values():
        atoms.positions += np.random.default_rng(0).normal(scale=0.05, size=atoms.positions.shape)
    return made


def random_model(atoms, network: str) -> Model:
    elements = tuple(sorted({int(z) for z in atoms.numbers}))
    header = {"carrier": "hole", "n_carriers": 1}
    if network == "published":
        spec = published.PublishedSpec(elements)
        params = published.init(0, spec)
        header |= {"images": "nearest", "cell": atoms.cell.array.tolist()}  # the pairs of the published loop
    else:
        cutoff, layers, scalars, vectors = NETWORKS[network]
        pairs = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, cutoff).capacity
        spec = Spec(
            elements=elements, cutoff=cutoff, layers=layers, scalars=scalars, vectors=vectors,
            mean_neighbours=2 * pairs / len(atoms),
        )  # fmt: skip
        params = init(0, spec)
    scales = params["scales"]
    scales["energy"] = scales["energy"] * 0.01
    scales["occupation_shift"] = scales["occupation_shift"] + jnp.array([1.0, 0.0], jnp.float32)
    return Model(spec, params, np.zeros(len(elements)), header)


def ours(atoms, model, dtype, ensemble, block, directory):
    frame = Frame(atoms.numbers, atoms.positions, atoms.cell.array, carrier_sites=(0,), carrier="hole")
    config = MDConfig(
        ensemble=ensemble, temperatures=(TEMPERATURE,), steps=10**9, block=block, dtype=dtype, guards=FIXED, skin=0.8
    )
    simulation = Simulation(config, [frame], force_field(model, atoms.numbers, dtype), Path(directory), "")
    simulation.advance()
    return simulation.advance


def model_alone(atoms, model, dtype, block):
    """Evaluation and gradient with a fixed list, vectors changing every step."""
    field = force_field(model, atoms.numbers, dtype)
    edges = model.neighbours(atoms.positions, atoms.cell.array, atoms.pbc)
    vectors = atoms.positions[edges.receivers] - atoms.positions[edges.senders] + edges.shifts @ atoms.cell.array
    charge = np.zeros(len(atoms), dtype)
    charge[0] = 1

    @jax.jit
    def scan(params, vectors, senders, receivers, mask, species, charge):
        def total(vectors):
            energies, occupations = field.potential(params, vectors, senders, receivers, mask, species, charge)
            return energies.sum(), occupations

        def step(vectors, _):
            (energy, occupations), slope = jax.value_and_grad(total, has_aux=True)(vectors)
            return vectors + 1e-9 * slope, (energy, occupations)

        return jax.lax.scan(step, vectors, length=block)

    args = [jnp.asarray(x) for x in (edges.senders, edges.receivers, edges.mask, field.species, charge)]
    call = partial(scan, field.params, jnp.asarray(vectors, dtype), *args)
    jax.block_until_ready(call())
    return lambda: jax.block_until_ready(call())


def ase_loop(atoms, model, dtype, dynamics, steps):
    atoms = atoms.copy()
    atoms.set_velocities(maxwell_boltzmann(atoms.get_masses(), TEMPERATURE, np.random.default_rng(0)) / units.fs)
    atoms.calc = LeopoldCalculator(model, (0,), follow=True, dtype=dtype)
    loop = dynamics(atoms)
    loop.run(2)
    return lambda: loop.run(steps)


def other_codes(atoms, names):
    """Call and steps in it for every peer that is installed and not too slow for these atoms, by name."""
    calls = {}
    for name in names:
        if not installed(name):
            continue
        step = PEERS[name](atoms)
        step()  # compiles
        first = cpu_time(step)
        if first > PATIENCE:
            print(f"{name}: left out for {len(atoms)} atoms, {first:.0f} s a step", flush=True)
            continue
        steps = max(1, min(20, int(0.5 / first)))
        calls[name] = (partial(repeat, step, steps), steps)
    return calls


def repeat(step, steps: int) -> None:
    for _ in range(steps):
        step()


def cpu_time(call) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def least(calls: dict, repeats: int) -> dict:
    """Smallest CPU time per step of every call, ms; in turn, so that what else the machine does hits all alike."""
    rounds = [{k: cpu_time(call) / steps * 1e3 for k, (call, steps) in calls.items()} for _ in range(repeats)]
    return {k: min(times[k] for times in rounds) for k in calls}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", choices=[*NETWORKS, "published"], default=["default"])
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--systems", nargs="+", choices=list(structures()), default=list(structures()))
    parser.add_argument("--ensemble", choices=("nve", "langevin", "nose-hoover"), default="langevin")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="a list of results as JSON on the last line")
    options = parser.parse_args()
    loops = {
        "ase VelocityVerlet": lambda a: VelocityVerlet(a, timestep=units.fs),
        "ase Langevin": lambda a: Langevin(
            a, units.fs, temperature_K=TEMPERATURE, friction=0.002 / units.fs, rng=np.random.default_rng(0)
        ),
    }
    print(f"{options.dtype}, {options.ensemble}; ms of CPU time per step, one thread")
    for missing in sorted({package(name) for name in PEERS if not installed(name)}):
        print(f"{missing} is not timed: pip install {missing}")
    results = []
    for name in options.systems:
        with tempfile.TemporaryDirectory() as directory:
            results += compare(name, options, loops, Path(directory))
    if options.json:
        print(json.dumps(results))


def compare(system: str, options, loops: dict, directory: Path) -> list[dict]:
    """One result for each network, all timed together."""
    atoms = structures()[system]
    block = max(5, 6400 // len(atoms))
    few = max(3, block // 5)
    others = other_codes(atoms, options.peers)
    calls = dict(others)
    for network in options.network:
        model, place = random_model(atoms, network), directory / network
        place.mkdir()
        calls[network, "ours"] = (ours(atoms, model, options.dtype, options.ensemble, block, place), block)
        calls[network, "model"] = (model_alone(atoms, model, options.dtype, block), block)
        calls |= {(network, k): (ase_loop(atoms, model, options.dtype, d, few), few) for k, d in loops.items()}
    times = least(calls, options.repeats)

    results = []
    for network in options.network:
        step, alone = times[network, "ours"], times[network, "model"]
        peers = {k: times[network, k] for k in loops} | {k: times[k] for k in others}
        results.append(
            {
                "system": system,
                "n_atoms": len(atoms),
                "dtype": options.dtype,
                "network": network,
                "ours_ms_per_step": step,
                "us_per_atom_step": 1e3 * step / len(atoms),
                "model_ms_per_step": alone,
                "outside": 1 - alone / step,
                "peers": peers,
            }
        )
        ratios = "  ".join(f"{k} {v:.2f} ms ({v / step:.1f}x)" for k, v in peers.items())
        print(
            f"{system:10s} {network} network: ours {step:.2f} ms ({1e3 * step / len(atoms):.1f} us/atom)  "
            f"model alone {alone:.2f} ms (outside {100 * (1 - alone / step):.0f} %)  {ratios}",
            flush=True,
        )
        if network == "published":
            same = "  ".join(f"{k} {times[k] / step:.1f}x" for k in others if package(k) == "jax-md")
            print(f"{system:10s} same network: {same or 'no jax-md'}", flush=True)
    return results


if __name__ == "__main__":
    main()
