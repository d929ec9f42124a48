"""Cost of one step of training: energy, forces and occupations learned by our network, beside other codes.

    python benchmarks/train.py [--network default wide published] [--systems mgo64 tio2_288] [--json]

CPU time on one thread, minimum over repeats in which everything takes its turn; compilation and pair lists are left
out. A step is forward, backward and optimiser on a batch of 5 frames of MgO 64 or 2 of TiO2 288, ours in float32, a
pass of several steps in one compiled scan as `leopold train` does it. The network `published` is the one of the
published LEOPOLD models and of the jax-md peer, on the same pairs. The other codes are in `train_peers.py`; they keep
the precision in their names and are timed when they are installed. What training gives is for `accuracy.py`.
"""

from __future__ import annotations

import argparse
import json
from functools import partial

import jax
import md  # sets the threads before jax starts
import numpy as np
from peers import installed, package
from train_peers import PEERS

from leopold_model.config import NetworkConfig, TrainConfig
from leopold_model.frames import Frame
from leopold_model.training import Training, run_batches

BATCH = {"mgo64": 5, "tio2_288": 2}
SIZES = ("cutoff", "layers", "scalars", "vectors")
NETWORKS = {name: dict(zip(SIZES, size, strict=True)) for name, size in md.NETWORKS.items()}


def labelled(atoms) -> Frame:
    """With labels that are as good as any for the cost."""
    occupations = np.ones((len(atoms), 2))
    occupations[0, 1] = 0.0
    return Frame(
        atoms.numbers, atoms.positions, atoms.cell.array, 0.0, np.zeros((len(atoms), 3)),
        occupations=occupations, carrier="hole", carrier_sites=(0,),
    )  # fmt: skip


def ours(batch, network: str, steps: int):
    """A pass of `steps` steps over the same frames."""
    frames = [labelled(atoms) for atoms in batch]
    options = {"batch_size": len(frames), "epochs": 10**6}
    if network == "published":
        training = Training(TrainConfig(**options), frames, frames[:1], md.random_model(batch[0], network))
    else:
        training = Training(TrainConfig(**options, network=NetworkConfig(**NETWORKS[network])), frames, frames[:1])
    [(data, rows)] = training.train_data
    order = np.tile(np.arange(len(rows), dtype=np.int32), (steps, 1))
    config = training.config

    def call():
        training.state, terms = run_batches(
            training.optimiser, training.spec, config.loss, config.ema_decay, training.state, training.scales, data,
            order,
        )  # fmt: skip
        if not np.isfinite(float(jax.block_until_ready(terms["loss"]))):
            raise FloatingPointError("the loss is not a number")

    call()
    return call


def compare(system: str, options) -> list[dict]:
    """One result for each network, all timed together."""
    batch = [md.structures()[system] for _ in range(BATCH[system])]
    for k, atoms in enumerate(batch):
        atoms.positions += np.random.default_rng(k).normal(scale=0.05, size=atoms.positions.shape)
    steps = 4
    calls = {network: (ours(batch, network, steps), steps) for network in options.network}
    for name in options.peers:
        if installed(name):
            step = PEERS[name](batch)
            step()  # compiles
            calls[name] = (partial(md.repeat, step, steps), steps)
    times = md.least(calls, options.repeats)

    peers = {name: times[name] for name in PEERS if name in times}
    results = []
    for network in options.network:
        step = times[network]
        results.append(
            {
                "system": system,
                "n_atoms": len(batch[0]),
                "dtype": "float32",
                "network": network,
                "batch": len(batch),
                "ours_ms_per_step": step,
                "ours_ms_per_frame": step / len(batch),
                "peers": peers,
            }
        )
        ratios = "  ".join(f"{k} {v:.0f} ms ({v / step:.1f}x)" for k, v in peers.items())
        print(f"{system:10s} {len(batch)} frames, {network} network: ours {step:.1f} ms  {ratios}", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", choices=[*NETWORKS, "published"], default=["default", "published"])
    parser.add_argument("--systems", nargs="+", choices=list(BATCH), default=list(BATCH))
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="a list of results as JSON on the last line")
    options = parser.parse_args()
    print("ms of CPU time per training step, one thread")
    for missing in sorted({package(name) for name in PEERS if not installed(name)}):
        print(f"{missing} is not timed: pip install {missing}")
    results = [result for system in options.systems for result in compare(system, options)]
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
