"""Every change of data between two jobs, as calcfunctions: merge, split, select, count, judge.

Each result depends only on the inputs, seeds included, so a repetition gives equal nodes and the jobs that
follow are found in the cache.
"""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from leopold_model.frames import Frame
from leopold_workflows.data.frames import FrameSetData


@calcfunction
def merge_frames(**sets: FrameSetData) -> FrameSetData:
    """All frames of `sets` (in the order of their names), each content once."""
    seen: dict[str, Frame] = {}
    for name in sorted(sets):
        for frame in sets[name].get_frames():
            seen.setdefault(frame.id, frame)
    return FrameSetData.from_frames(list(seen.values()))


@calcfunction
def split_by_run(frames: FrameSetData, fraction: orm.Float, seed: orm.Int) -> dict:
    """Hold out about `fraction` of the runs of every pathway: `training` and `holdout`.

    Frames of one run (for labels: of one hop) stay together, for they are correlated. A pathway seen in one
    run only keeps it for training, where it is needed most; one seen in more has at least one held out. Frames
    outside hops are for training.
    """
    random = np.random.default_rng(seed.value)
    everything = frames.get_frames()
    held: set[str] = set()
    for pathway in sorted({f.pathway for f in everything} - {""}):
        runs = sorted({f.run for f in everything if f.pathway == pathway})
        wanted = max(round(fraction.value * len(runs)), 1) if fraction.value else 0
        n_held = min(wanted, len(runs) - 1)
        held.update(runs[k] for k in random.permutation(len(runs))[:n_held])
    parts = {
        "training": [f for f in everything if f.run not in held],
        "holdout": [f for f in everything if f.run in held],
    }
    return {name: FrameSetData.from_frames(part) for name, part in parts.items()}


@calcfunction
def choose_start_frames(frames: FrameSetData, n: orm.Int, seed: orm.Int) -> FrameSetData:
    """`n` frames to start dynamics from, spread over the runs, drawn without repetition while there are
    enough. Labels are of moments that dynamics passes through, and serve only where there is nothing else."""
    random = np.random.default_rng(seed.value)
    usable = [f for f in frames.get_frames() if f.carrier_sites]
    usable = [f for f in usable if f.source != "label"] or usable
    runs: dict[str, list[Frame]] = {}
    for k in random.permutation(len(usable)):
        runs.setdefault(usable[k].run, []).append(usable[k])
    names = sorted(runs)
    if n.value < len(
        names
    ):  # from the first to the last: of arrangements, from the nearest to a defect to the farthest
        names = [names[k] for k in np.rint(np.linspace(0, len(names) - 1, n.value)).astype(int)]
    turns = max((len(run) for run in runs.values()), default=0)
    dealt = [runs[name][turn] for turn in range(turns) for name in names if turn < len(runs[name])]
    return FrameSetData.from_frames(dealt[: n.value])


@calcfunction
def lower_learning_rate(parameters: orm.Dict, factor: orm.Float) -> orm.Dict:
    """Training parameters with the learning rate (the schema's default where absent) times `factor`."""
    from leopold_model.config import TrainConfig, parse

    data = parameters.get_dict()
    return orm.Dict(data | {"learning_rate": parse(data, TrainConfig).learning_rate * factor.value})


@calcfunction
def smaller_batches(parameters: orm.Dict) -> orm.Dict:
    """Training parameters with half the frames in a batch (the schema's default where absent), at least one."""
    from leopold_model.config import TrainConfig, parse

    data = parameters.get_dict()
    return orm.Dict(data | {"batch_size": max(1, parse(data, TrainConfig).batch_size // 2)})


@calcfunction
def updated(parameters: orm.Dict, changes: orm.Dict) -> orm.Dict:
    """`parameters` with `changes` laid over them, sections merged key by key."""

    def lay(base, over):
        merged = dict(base)
        for key, value in over.items():
            both = isinstance(value, dict) and isinstance(base.get(key), dict)
            merged[key] = lay(base[key], value) if both else value
        return merged

    return orm.Dict(lay(parameters.get_dict(), changes.get_dict()))


@calcfunction
def seed_of_round(seed: orm.Int, round: orm.Int) -> orm.Int:
    """A seed for each round, far from those of the other rounds, the same whenever it is asked for."""
    return orm.Int(int(np.random.SeedSequence([seed.value, round.value]).generate_state(1)[0] % 2**31))
