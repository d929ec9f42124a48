"""A finished study made by hand: its nodes come from the functions that make them in a study."""

from dataclasses import replace

import numpy as np
from aiida import orm
from aiida.common.links import LinkType
from plumpy import ProcessState

from leopold_model.evaluate import Prediction, errors
from leopold_workflows.calculations.functions_hops import catalogue_of, record_labels, select_hop_frames
from leopold_workflows.calculations.functions_learn import (
    assess,
    gather_convergence,
    gather_label_outcomes,
    gather_learning_curve,
    hop_frame_errors,
)
from leopold_workflows.calculations.functions_transport import transport_of
from leopold_workflows.calculations.functions_vasp import gather_outcomes, judge_label
from leopold_workflows.data.frames import FrameSetData

SETTINGS = {"selection": {"offsets": [-10, 0, 10], "hops_per_pathway": 1, "min_verified": 1}}


def spent(**changes) -> orm.Dict:
    """What a round cost."""
    return orm.Dict({"asked": 0, "labels": 0, "node_hours": 0.0, "untrained": False} | changes)


def study(status=0, message="", state=ProcessState.FINISHED, given=None, **outputs) -> orm.WorkChainNode:
    """A PolaronDynamicsWorkChain that was `given` this and ended like this."""
    node = orm.WorkChainNode()
    node.set_process_label("PolaronDynamicsWorkChain")
    for name, data in (given or {}).items():
        node.base.links.add_incoming(data.store(), link_type=LinkType.INPUT_WORK, link_label=name)
    node.store()
    for name, data in outputs.items():
        data.base.links.add_incoming(node, link_type=LinkType.RETURN, link_label=name)
    node.set_process_state(state)
    if state is ProcessState.FINISHED:
        node.set_exit_status(status)
    if message:
        node.set_exit_message(message)
    return node.seal()


def training(frames, off=0.1) -> orm.Dict:
    """`results` of leopold.train for a model whose forces are `off` by that much, eV/Angstrom."""
    labelled = [replace(f, occupations=np.stack([f.moments, 0 * f.moments], 1)) for f in frames]
    answers = [Prediction(f.energy, f.forces + off, np.zeros((3, 3)), f.occupations + 0.02) for f in labelled]
    report = errors(labelled, answers)
    counts = {"given": len(frames), "train": len(frames), "validation": 1, "test": 1}
    return orm.Dict({"errors": dict.fromkeys(("train", "validation", "test"), report), "data": counts, "epochs": 5})


def on_hops(frames, off) -> orm.Dict:
    """Errors on these labelled hop frames of a model whose forces are `off` by that much, eV/Angstrom."""
    answers = [Prediction(f.energy, f.forces + off, np.zeros((3, 3)), f.occupations) for f in frames]
    return hop_frame_errors(orm.Dict(errors(frames, answers)))


def learned_outputs(make_track, make_frames, host, sites) -> dict:
    """Outputs of learning and transport: a model trained once, hops of two classes, labels of which some missed.
    Arguments are the fixtures of these names."""
    a, near, far = sites
    track = make_track([a, near, a, near], [a, near, far])
    settings = orm.Dict(SETTINGS)
    explored = catalogue_of(track, host, orm.Dict({"species": "O", "cutoff": 5.0}), orm.Str("explore-01"))
    selected = select_hop_frames(track, explored, settings, orm.Int(99), orm.Str("explore-01"), orm.Int(0))
    asked = selected.get_frames()
    reached = [
        replace(f, energy=-1.0, forces=np.zeros((len(f), 3)), label=f.id, requested_sites=(far,) if k == 0 else (s,))
        for k, f in enumerate(asked)
        for s in f.carrier_sites
    ]
    carrier = orm.Dict({"species": ["O"], "n": 1})
    verdicts = {
        f"label_{f.label}": judge_label(FrameSetData.from_frames([f]), carrier, orm.Float(2.0)) for f in reached
    }
    outcomes = gather_outcomes(orm.Dict({}), **verdicts)
    verified = [f for f in reached if outcomes["labels"][f.label]["outcome"] == "verified"]
    catalogue = record_labels(explored, selected, outcomes)
    before, after = on_hops(verified, 0.4), on_hops(verified[:1], 0.1)
    first = assess(catalogue, settings, orm.Int(1), spent(asked=len(asked), labels=len(asked)))
    second = assess(catalogue, settings, orm.Int(2), spent(labels=len(asked)), previous=first, hop_errors=after)
    return {
        "catalogue": catalogue,
        "selected": selected,
        "labels": FrameSetData.from_frames(verified).store(),
        "label_outcomes": gather_label_outcomes(round_01_labels=outcomes),
        "convergence": gather_convergence(round_01=first, round_02=second),
        # the second round found all it needed and trained nothing
        "learning_curve": gather_learning_curve(
            round_01_training=training(make_frames(3)), round_01_new_labels=before, round_02_holdout=after
        ),
        "transport": transport_of(catalogue, orm.Dict({"n_bootstrap": 50}), orm.Int(1), catalogue),
    }
