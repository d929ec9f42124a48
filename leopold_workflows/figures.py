"""Every figure that the outputs of a finished process allow, whichever process it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from aiida.common.links import LinkType
from aiida.orm import Node, ProcessNode

from leopold_model import figures, plots
from leopold_model.analysis import AnalysisError
from leopold_model.analysis.catalogue import Catalogue, build_catalogue
from leopold_model.figures import Figures
from leopold_model.frames import Frame
from leopold_model.hops_command import carrier_species, host_of
from leopold_model.plots.strip import HopPictures, pictures
from leopold_model.tracks import read_track
from leopold_workflows import queries
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.data.track import TrackData
from leopold_workflows.pattern_figures import of_patterns

Outputs = dict[str, Node]


def draw(process: ProcessNode, folder: Path) -> Figures:
    """Draw into `folder` what `process` has data for; caption -> file name.

    A study, its learning, explorations and transport, the hops and the transport of a calcfunction, a barrier, an
    evaluation, labels: what counts is which outputs there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outputs = _outputs(process)
    found: Figures = {}
    for draw_some in (_learning, _moments, _hops, _transport, _track, _barrier, of_patterns):
        found |= draw_some(process, outputs, folder)
    # where dynamics kept no window of a hop, the frames sent to the reference show one
    if "hop.png" not in found.values():
        found |= _selected(outputs, folder)
    return found


def _outputs(process: ProcessNode) -> Outputs:
    """By name; of a study, the hops and the track are those of its production."""
    links = process.base.links.get_outgoing(link_type=(LinkType.RETURN, LinkType.CREATE)).all()
    named = {link.link_label: link.node for link in links}
    learned = {"learned": named["catalogue"]} if {"production__catalogue", "catalogue"} <= set(named) else {}
    production = {
        label.removeprefix("production__"): named[label] for label in named if label.startswith("production__")
    }
    return named | production | learned


def _learning(process: ProcessNode, outputs: Outputs, folder: Path) -> Figures:
    """What was labelled, and the errors round by round."""
    found: Figures = {}
    catalogue = outputs.get("learned", outputs.get("catalogue"))
    if isinstance(catalogue, PathwaySetData) and any(p["hops"] for p in catalogue.pathways):
        plots.pathway_bars(folder / "pathways.png", [p for p in catalogue.pathways if p["hops"]])
        found["Hops and verified labels by pathway"] = "pathways.png"
    curve = outputs["learning_curve"]["rounds"] if "learning_curve" in outputs else []
    if curve and "pairs" not in curve[0]:  # that of patterns has no forces
        plots.round_errors(folder / "learning_curve.png", outputs["learning_curve"]["rounds"])
        found["Errors by learning round"] = "learning_curve.png"
    return found


def _moments(process: ProcessNode, outputs: Outputs, folder: Path) -> Figures:
    """Moments of model and reference on the same frames."""
    pairs = queries.labelled_hops(process) or _labelled(process, outputs) or _evaluated(process, outputs)
    if not pairs:
        return {}
    plots.moment_parity(folder / "moments.png", *moments_along_hops(pairs))
    return {"Moments along resubmitted hops, model against reference": "moments.png"}


def _hops(process: ProcessNode, outputs: Outputs, folder: Path) -> Figures:
    catalogue = _catalogue(outputs)
    if catalogue is None or not catalogue.n_hops:
        return {}
    found = figures.of_hops(folder, catalogue)
    if "transport" in outputs:
        return found
    rows = catalogue.to_dict()["rates"]
    return found | figures.of_rates(
        folder, [{"temperature_K": row["temperature"], "rates": row["pathways"]} for row in rows]
    )


def _transport(process: ProcessNode, outputs: Outputs, folder: Path) -> Figures:
    summary = outputs.get("transport") or _result_with(outputs, "arrhenius")
    return {} if summary is None else figures.of_transport(folder, summary.get_dict())


def _track(process: ProcessNode, outputs: Outputs, folder: Path) -> Figures:
    """Layers, defects and a hop in pictures, of dynamics; its own hops where no catalogue is output beside it."""
    if not isinstance(outputs.get("track"), TrackData):
        return {}
    with outputs["track"].as_path() as path:
        track = read_track(path)
    track = replace(track, replicas=tuple(r for r in track.replicas if len(r)))
    if not track.replicas:
        return {}
    catalogue = _catalogue(outputs)
    if catalogue is not None:
        return figures.of_track(folder, track, catalogue)
    try:
        catalogue = build_catalogue(track, host_of(track, carrier_species(track)))
    except AnalysisError:  # a cell that holds nothing twice tells no host; its exploration knows it
        return {}
    return figures.of_hops(folder, catalogue) | figures.of_track(folder, track, catalogue)


def _selected(outputs: Outputs, folder: Path) -> Figures:
    if not isinstance(outputs.get("selected"), FrameSetData):
        return {}
    pathways = outputs.get("learned", outputs.get("catalogue"))
    hops = {p["name"]: p["hops"] for p in pathways.pathways} if isinstance(pathways, PathwaySetData) else {}
    return figures.of_pictures(folder, _pictured(outputs["selected"].get_frames(), hops))


def _barrier(process: ProcessNode, outputs: Outputs, folder: Path) -> Figures:
    hop = outputs.get("barrier") or _result_with(outputs, "crossing")
    return {} if hop is None else figures.of_barrier(folder, hop.get_dict())


# -------------------------------------------------------------------------------------------------- what is drawn of


def _catalogue(outputs: Outputs) -> Catalogue | None:
    node = next((n for n in (outputs.get("catalogue"), outputs.get("result")) if isinstance(n, PathwaySetData)), None)
    return None if node is None else Catalogue.from_dict(node.catalogue["hops"])


def _result_with(outputs: Outputs, key: str) -> Node | None:
    """The `result` of a calcfunction or the `results` of a job, if it has that key."""
    for name in ("result", "results"):
        node = outputs.get(name)
        if node is not None and key in getattr(node, "get_dict", dict)():
            return node
    return None


def _labelled(process: ProcessNode, outputs: Outputs) -> list[tuple[Frame, Frame]]:
    """Of leopold.label(.frames): the frame as the model had it, its label."""
    labels = outputs.get("frames")
    if "frames" not in process.inputs or not isinstance(labels, FrameSetData):
        return []
    by_id = {frame.id: frame for frame in process.inputs.frames.get_frames() if frame.spin_moments is not None}
    return [(by_id[label.label], label) for label in labels.get_frames() if label.label in by_id]


def _evaluated(process: ProcessNode, outputs: Outputs) -> list[tuple[Frame, Frame]]:
    """Of leopold.evaluate: the frame with the moments of the model, the frame with its own."""
    if "predictions" not in outputs:
        return []
    frames = [f for f in process.inputs.frames.get_frames() if f.carrier_sites and f.spin_moments is not None]
    moments, pairs, first = outputs["predictions"].get_array("moments"), [], 0
    for frame in frames:
        own = replace(frame, occupations=None, moments=moments[first : first + len(frame)])
        pairs.append((own, frame))
        first += len(frame)
    return pairs


def moments_along_hops(pairs: list[tuple[Frame, Frame]]) -> tuple[list[float], list[float]]:
    """Moments (mu_B) of the model and of the reference on every atom of the carrier's species.

    `pairs` as `queries.labelled_hops` gives them: the frame as the model had it, its label.
    """
    ours, theirs = [], []
    for asked, label in pairs:
        species = asked.numbers == asked.numbers[asked.carrier_sites[0]]
        ours += asked.spin_moments[species].tolist()
        theirs += label.spin_moments[species].tolist()
    return ours, theirs


def _pictured(frames: list[Frame], hops: dict[str, int]) -> HopPictures | None:
    """The hop with the most frames, of the class with the most `hops`, among those whose carrier is on one site first
    and on another last."""
    runs: dict[str, list[Frame]] = {}
    for frame in frames:
        runs.setdefault(frame.run, []).append(frame)
    whole = []
    for run in runs.values():
        run.sort(key=lambda f: f.step)
        i, j = (int(run[k].spin_moments.argmax()) for k in (0, -1))
        if i != j:
            whole.append((run, i, j))
    if not whole:
        return None
    run, i, j = max(whole, key=lambda hop: (hops.get(hop[0][0].pathway, 0), len(hop[0])))
    crossing = next(f.step for f in run if f.spin_moments[j] >= f.spin_moments[i])
    return pictures(run, i, j, [f.step - crossing for f in run], run[0].pathway, "steps")
