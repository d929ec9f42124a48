"""Calcfunctions of the pathway catalogue: count hops, remember labels, choose the hop frames to label next.

A catalogue node (`PathwaySetData`) holds `pathways` (class by class: hops, verified labels, outcomes of labels),
`hops` (the hop tables of the explorations with the newest model, `leopold_model.analysis.catalogue`) and `rounds`
(what each exploration saw, and the share of its replicas that a guard stopped). Hops seen with an older model are
remembered in `rounds` only: rates and classes are those of the newest model.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, calcfunction

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.catalogue import Catalogue, build_catalogue, merge
from leopold_model.analysis.sites import host_from_structure
from leopold_model.config import parse
from leopold_model.frames import Frame
from leopold_model.hop_frames import across, before_stop, window_of
from leopold_model.tracks import STOPPED, ReplicaTrack, TrackFile, read_track
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.data.pathways import PathwaySetData
from leopold_workflows.data.track import TrackData
from leopold_workflows.settings import HopSettings, LearnSettings, SelectionSettings


@calcfunction
def catalogue_of(track: TrackData, host: orm.StructureData, hops: orm.Dict, run: orm.Str) -> PathwaySetData:
    """The catalogue of one exploration, no label known yet. `host` is the perfect crystal without carrier."""
    settings = parse(hops.get_dict(), HopSettings).model_dump()
    crystal = host.get_ase()
    with track.as_path() as path:
        tracks = read_track(path)
    try:
        sites = host_from_structure(
            crystal.numbers,
            crystal.positions,
            crystal.cell.array,
            sublattice=settings.pop("species"),
            moments=settings.pop("host_moments"),
        )
        if any(len(replica) for replica in tracks.replicas):
            found = build_catalogue(tracks, sites, run=run.value, **settings)
        else:  # guards stopped them all in the first block: nothing was seen, and that is known
            found = Catalogue(host=sites, carrier=tracks.carrier, replicas=(), **settings)
    except AnalysisError as error:
        return ExitCode(312, str(error))
    return PathwaySetData.from_catalogue(_as_json(found, [], [_round(found, run.value, tracks)]))


@calcfunction
def update_catalogue(explored: PathwaySetData, known: PathwaySetData, same_model: orm.Bool) -> PathwaySetData:
    """`known` with one more exploration. Its hops are added to those of `known` when the model is the same,
    and replace them when it was trained anew."""
    new, old = explored.catalogue, known.catalogue
    found = Catalogue.from_dict(new["hops"])
    if same_model.value:
        found = merge([Catalogue.from_dict(old["hops"]), found])
    return PathwaySetData.from_catalogue(_as_json(found, old["pathways"], old["rounds"] + new["rounds"]))


@calcfunction
def record_labels(catalogue: PathwaySetData, selected: FrameSetData, outcomes: orm.Dict) -> PathwaySetData:
    """`catalogue` with the outcomes of the labels asked for in `selected`, matched by frame id. Those of frames outside
    hops are of no class."""
    data = catalogue.catalogue
    pathways = {p["name"]: p for p in data["pathways"]}
    pathway_of = {frame.id: frame.pathway for frame in selected.get_frames()}
    for frame_id, label in outcomes["labels"].items():
        if not pathway_of[frame_id]:
            continue
        counts = pathways[pathway_of[frame_id]]["labels"]
        counts[label["outcome"]] = counts.get(label["outcome"], 0) + 1
    found = Catalogue.from_dict(data["hops"])
    return PathwaySetData.from_catalogue(_as_json(found, data["pathways"], data["rounds"]))


@calcfunction
def select_hop_frames(
    track: TrackData, catalogue: PathwaySetData, settings: orm.Dict, limit: orm.Int, run: orm.Str, seed: orm.Int
) -> FrameSetData:
    """Frames from before guards stopped the dynamics, and across hops of the classes that still need labels, to be
    labelled with the carrier where the model has it.

    `settings` as in `LearnSettings`, `limit` the number of frames at most. Stopped replicas and classes take turns,
    the classes with the fewest verified labels and hops first, one hop at a time: the hops of a class by how far the
    networks of a committee disagree about forces on the way, of one network at random. Frames of one hop share their
    `run`. The model's moments and occupations come along, to be held against the reference's.
    """
    selection = parse(settings.get_dict(), LearnSettings).selection
    most = min(limit.value, selection.max_frames)
    data = catalogue.catalogue
    with track.as_path() as path:
        tracks = read_track(path)
    replicas = {r.replica: r for r in tracks.replicas}
    random = np.random.default_rng(seed.value)
    stops = [before_stop(tracks, r, selection.before_stop, run=run.value) for r in tracks.replicas]
    queues = [[frames for frames in stops if frames]]
    for pathway in in_need(data["pathways"], selection):
        crossings = [
            (replicas[r["replica"]], hop["time"], " + " in hop["pathway"])
            for r in data["hops"]["replicas"]
            if r["run"] == run.value
            for hop in r["table"]["hops"]
            if pathway["name"] in hop["pathway"].split(" + ")
        ]
        # legs of relayed hops only where the class was not seen on its own
        direct = [c for c in crossings if not c[2]] or crossings
        windows = [(r, w, time) for r, time, _ in direct if (w := window_of(r, time)) is not None]
        # a stable sort: hops as doubtful as each other stay in random order
        order = sorted(random.permutation(len(windows)), key=lambda k: -_doubt(*windows[k][:2]))
        queues.append(
            [
                across(tracks, *windows[k], selection.offsets, run=run.value, pathway=pathway["name"])
                for k in order[: selection.hops_per_pathway]
            ]
        )
    chosen: list[Frame] = []
    for turn in range(max((len(q) for q in queues), default=0)):
        for queue in queues:
            if turn < len(queue) and len(chosen) + len(queue[turn]) <= most:
                chosen += queue[turn]
    return FrameSetData.from_frames(list({f.id: f for f in chosen}.values()))


def in_need(pathways: list[dict], selection: SelectionSettings) -> list[dict]:
    """The classes seen with the newest model that lack verified labels and were not given up, worst known
    first."""
    open_ = [
        p
        for p in pathways
        if p["hops"]
        and p["verified_labels"] < selection.min_verified
        and sum(p["labels"].values()) < selection.max_attempts
    ]
    return sorted(open_, key=lambda p: (p["verified_labels"], p["hops"], p["name"]))


# ------------------------------------------------------------------------------------------------ machinery


def _round(found: Catalogue, run: str, tracks: TrackFile) -> dict:
    stopped = [r.status in STOPPED for r in tracks.replicas]
    return {
        "run": run,
        "stopped": sum(stopped) / len(stopped),
        "hops": {name: n for name, n in found.counts().items() if n},
        "carrier_time_fs": found.carrier_time(),
        "temperatures": list(found.temperatures),
    }


def _as_json(found: Catalogue, known: list[dict], rounds: list[dict]) -> dict:
    """Hops of `found` beside the labels of the classes `known` before."""
    pathways = [asdict(p) | {"labels": {}} for p in found.pathways]
    before = {p["name"]: p for p in known}
    for p in pathways:
        p["labels"] = before.pop(p["name"], p)["labels"]
    # classes beyond the cutoff that the newest model has not shown again
    none = dict.fromkeys(("hops", "relayed", "back", "adiabatic", "ambiguous"), 0)
    pathways += [p | none for p in before.values() if p["labels"]]
    for p in pathways:
        p["verified_labels"] = p["labels"].get("verified", 0)
        p["first_seen"] = next((r["run"] for r in rounds if p["name"] in r["hops"]), None)
    return {
        "cutoff": found.cutoff,
        "carrier": found.carrier,
        "summary": found.summary,
        "n_hops": found.n_hops,
        "pathways": pathways,
        "rounds": rounds,
        "hops": found.to_dict(),
    }


def _doubt(replica: ReplicaTrack, window: int) -> float:
    """Largest disagreement of a committee on a force in the window, eV/A."""
    return float(replica.windows.force_spread[window].max())
