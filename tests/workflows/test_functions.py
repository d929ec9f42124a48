"""Calcfunctions: what goes in comes out once, seeds decide every choice, the catalogue counts what was put in."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from ase.build import bulk

from leopold_workflows.calculations.functions import (
    choose_start_frames,
    lower_learning_rate,
    merge_frames,
    seed_of_round,
    split_by_run,
    updated,
)
from leopold_workflows.calculations.functions_hops import (
    catalogue_of,
    in_need,
    record_labels,
    select_hop_frames,
    update_catalogue,
)
from leopold_workflows.data.frames import FrameSetData
from leopold_workflows.settings import LearnSettings, SelectionSettings

HOPS = {"species": "O", "cutoff": 5.0}
A = 4.181


def settings(**selection):
    return orm.Dict({"selection": {"offsets": [-10, 0, 10], "min_verified": 2, **selection}})


def explored(track, host, run="explore-01"):
    return catalogue_of(track, host, orm.Dict(HOPS), orm.Str(run))


def test_merging_keeps_every_content_once(make_frames):
    first, second = make_frames(3), make_frames(2, seed=1)
    merged = merge_frames(a=FrameSetData.from_frames(first), b=FrameSetData.from_frames(second + first[:2]))
    assert [f.id for f in merged.get_frames()] == [f.id for f in first + second]
    assert merged.creator.process_label == "merge_frames"


def test_merging_is_recognised_by_content(make_frames):
    pair = [FrameSetData.from_frames(make_frames(2, seed=s)) for s in (1, 2)]
    one, two = merge_frames(a=pair[0], b=pair[1]), merge_frames(a=pair[0], b=pair[1])
    assert one.base.caching.get_hash() == two.base.caching.get_hash()


def test_holdout_takes_whole_hops_of_every_pathway(make_frames):
    frames = [
        f
        for pathway, n in (("near", 4), ("far", 1))
        for k in range(n)
        for f in make_frames(3, run=f"{pathway}{k}", seed=10 * n + k, pathway=pathway)
    ]
    parts = split_by_run(FrameSetData.from_frames(frames), orm.Float(0.25), orm.Int(7))
    training, holdout = (parts[name].get_frames() for name in ("training", "holdout"))
    assert len(training) + len(holdout) == len(frames)
    assert not {f.run for f in training} & {f.run for f in holdout}
    assert {f.pathway for f in holdout} == {"near"} and len(holdout) == 3
    little = split_by_run(FrameSetData.from_frames(frames), orm.Float(0.01), orm.Int(7))
    assert len(little["holdout"]) == 3, "two hops or more: at least one is held out"
    assert len(split_by_run(FrameSetData.from_frames(frames), orm.Float(0.0), orm.Int(7))["holdout"]) == 0
    outside = [f for run in "ab" for f in make_frames(2, run=run, seed=ord(run))]
    kept = split_by_run(FrameSetData.from_frames(frames + outside), orm.Float(0.25), orm.Int(7))
    assert len(kept["holdout"]) == 3, "frames outside hops are trained on"
    again = split_by_run(FrameSetData.from_frames(frames), orm.Float(0.25), orm.Int(7))
    assert again["holdout"].content == parts["holdout"].content


def test_starts_are_spread_over_runs(make_frames):
    frames = [f for run in "abc" for f in make_frames(4, run=run, seed=ord(run))]
    starts = choose_start_frames(FrameSetData.from_frames(frames), orm.Int(3), orm.Int(1)).get_frames()
    assert sorted(f.run for f in starts) == ["a", "b", "c"]
    few = choose_start_frames(FrameSetData.from_frames(frames), orm.Int(2), orm.Int(1)).get_frames()
    assert [f.run for f in few] == ["a", "c"], "arrangements near to and far from a defect, not the first two"
    labels = [replace(f, source="label") for f in make_frames(2, run="stop", seed=9)]
    starts = choose_start_frames(FrameSetData.from_frames(frames + labels), orm.Int(50), orm.Int(1)).get_frames()
    assert {f.run for f in starts} == {"a", "b", "c"}, "not from where dynamics broke down"
    assert len(choose_start_frames(FrameSetData.from_frames(labels), orm.Int(50), orm.Int(1))) == 2
    many = choose_start_frames(FrameSetData.from_frames(frames), orm.Int(50), orm.Int(1))
    assert len(many) == len(frames)


def test_parameters_are_changed_with_provenance():
    changed = updated(
        orm.Dict({"epochs": 10, "network": {"layers": 2, "cutoff": 4.0}}), orm.Dict({"network": {"layers": 3}})
    )
    assert changed.get_dict() == {"epochs": 10, "network": {"layers": 3, "cutoff": 4.0}}
    assert lower_learning_rate(orm.Dict({"learning_rate": 0.01}), orm.Float(0.5))["learning_rate"] == 0.005
    assert lower_learning_rate(orm.Dict({}), orm.Float(0.5))["learning_rate"] > 0


def test_every_round_has_its_own_seed():
    seeds = [seed_of_round(orm.Int(s), orm.Int(r)).value for s in (1, 2) for r in (1, 2, 3)]
    assert len(set(seeds)) == 6 and min(seeds) >= 0
    assert seed_of_round(orm.Int(1), orm.Int(2)).value == seeds[1]


def test_catalogue_counts_hops_by_class(make_track, host, sites):
    a, near, far = sites
    catalogue = explored(make_track([a, near, a], [a, far]), host)
    seen = {p["name"]: p for p in catalogue.pathways if p["hops"]}
    assert sorted(p["hops"] for p in seen.values()) == [1, 2]
    nearest = next(p for p in seen.values() if p["hops"] == 2)
    assert nearest["distance"] == pytest.approx(A / np.sqrt(2), abs=1e-3) and nearest["multiplicity"] == 12
    assert nearest["verified_labels"] == 0 and nearest["first_seen"] == "explore-01"
    assert catalogue.catalogue["rounds"][0]["carrier_time_fs"] == 1000.0


def test_a_magnetic_host_has_the_classes_of_its_magnetic_group(make_track, host, sites, crystal):
    """Planes of alternating moments along [001]: the twelve nearest neighbours split into four within the plane and
    eight between planes."""
    up = np.rint(2 * crystal.positions[:, 2] / A).astype(int) % 2 == 0
    moments = np.where(crystal.numbers == 8, np.where(up, 1.0, -1.0), 0.0).tolist()
    track = make_track([sites[0]])
    classes = {}
    for name, given in (("plain", {}), ("magnetic", {"host_moments": moments})):
        catalogue = catalogue_of(track, host, orm.Dict({**HOPS, "cutoff": 3.5, **given}), orm.Str("x"))
        classes[name] = sorted(p["multiplicity"] for p in catalogue.pathways)
    assert classes == {"plain": [12], "magnetic": [4, 8]}


def test_no_hop_is_a_valid_catalogue(make_track, host, sites):
    catalogue = explored(make_track([sites[0]]), host)
    assert catalogue.catalogue["n_hops"] == 0 and catalogue.base.attributes.get("seen") == []
    assert catalogue.pathways and in_need(catalogue.pathways, SelectionSettings()) == []


def test_host_that_does_not_fit_is_a_failure_not_an_exception(make_track, sites):
    strange = orm.StructureData(ase=bulk("MgO", "rocksalt", a=7.0, cubic=True))
    _, node = catalogue_of.run_get_node(make_track([sites[0]]), strange, orm.Dict(HOPS), orm.Str("x"))
    assert node.exit_status == 312 and "supercell" in node.exit_message


def test_hops_add_up_with_one_model_and_start_anew_with_the_next(make_track, host, sites):
    a, near, far = sites
    first = explored(make_track([a, near, far]), host)
    second = explored(make_track([a, near]), host, "explore-02")
    same = update_catalogue(second, first, orm.Bool(True))
    anew = update_catalogue(second, first, orm.Bool(False))
    assert (same.catalogue["n_hops"], anew.catalogue["n_hops"]) == (3, 1)
    assert [r["run"] for r in anew.catalogue["rounds"]] == ["explore-01", "explore-02"]


def test_selected_frames_cross_the_hop_with_the_carrier_where_the_model_has_it(make_track, host, sites):
    a, near, _ = sites
    track = make_track([a, near, a])
    catalogue = explored(track, host)
    selected = select_hop_frames(
        track, catalogue, settings(hops_per_pathway=1), orm.Int(99), orm.Str("explore-01"), orm.Int(3)
    ).get_frames()
    assert len(selected) == 3 and len({f.run for f in selected}) == 1 and len({f.label for f in selected}) == 3
    before, _, after = sorted(selected, key=lambda f: f.step)
    assert {before.carrier_sites, after.carrier_sites} == {(a,), (near,)}
    assert after.step - before.step == 20
    for frame in selected:
        assert frame.requested_sites == frame.carrier_sites
        assert frame.spin_moments[frame.carrier_sites[0]] == pytest.approx(1.0)
        assert frame.pathway == next(p["name"] for p in catalogue.pathways if p["hops"])
        assert frame.temperature == 600.0 and not frame.labelled


def test_selection_is_bounded_and_gives_every_class_its_turn(make_track, host, sites):
    a, near, far = sites
    track = make_track([a, near] * 4, [a, far])
    catalogue = explored(track, host)

    def chosen(limit, seed=0, **selection):
        return select_hop_frames(
            track,
            catalogue,
            settings(hops_per_pathway=5, **selection),
            orm.Int(limit),
            orm.Str("explore-01"),
            orm.Int(seed),
        )

    assert len(chosen(99, max_frames=6)) == 6 and len(chosen(7)) == 6
    assert {f.pathway for f in chosen(6).get_frames()} == set(catalogue.base.attributes.get("seen"))
    assert chosen(12, seed=4).content == chosen(12, seed=4).content != chosen(12, seed=5).content


def test_hops_on_which_a_committee_disagrees_come_first(make_track, host, sites):
    a, near, _ = sites
    doubts = [0.1, 0.2, 0.9, 0.1, 0.8, 0.1, 0.2]
    track = make_track([a, near] * 4, doubts=doubts)
    selected = select_hop_frames(
        track, explored(track, host), settings(hops_per_pathway=2), orm.Int(99), orm.Str("explore-01"), orm.Int(0)
    )
    assert list(dict.fromkeys(f.run for f in selected.get_frames())) == [
        f"explore-01-r000-t{200 * (1 + k):06d}" for k in (2, 4)
    ]


def test_frames_from_before_a_stop_are_labelled_first(make_track, host, sites):
    """At the times asked for, with the carrier where the model has it; of no class, and not counted as one."""
    a, near, _ = sites
    track = make_track([a, near], [a, a], [], stopped=[1])
    catalogue = explored(track, host)
    assert catalogue.catalogue["rounds"][0]["stopped"] == pytest.approx(2 / 3)
    chosen = settings(before_stop=[20, 10], hops_per_pathway=1)
    selected = select_hop_frames(track, catalogue, chosen, orm.Int(99), orm.Str("explore-01"), orm.Int(0))
    frames = selected.get_frames()
    of_stops = frames[:2]
    assert [f.step for f in of_stops] == [387, 397] and {f.run for f in of_stops} == {"explore-01-r001-stop"}
    assert {f.carrier_sites for f in of_stops} == {(a,)} and {f.pathway for f in of_stops} == {""}
    # one turn of a hop between the two replicas; the second was stopped in its equilibration, before a first step
    assert {f.pathway for f in frames[2:-1]} == {next(p["name"] for p in catalogue.pathways if p["hops"])}
    assert (frames[-1].step, frames[-1].run) == (-9, "explore-01-r002-stop")
    outcomes = {f.id: {"outcome": "verified"} for f in frames}
    known = record_labels(catalogue, selected, orm.Dict({"labels": outcomes}))
    assert sum(p["verified_labels"] for p in known.pathways) == 3
    none = settings(before_stop=[], hops_per_pathway=1)
    assert len(select_hop_frames(track, catalogue, none, orm.Int(99), orm.Str("explore-01"), orm.Int(0))) == 3


def test_a_run_in_which_all_was_stopped_at_once_is_an_empty_catalogue(make_track, host):
    track = make_track([], [])
    catalogue = explored(track, host)
    assert catalogue.catalogue["n_hops"] == 0 and catalogue.catalogue["rounds"][0]["stopped"] == 1.0
    selected = select_hop_frames(track, catalogue, settings(), orm.Int(9), orm.Str("explore-01"), orm.Int(0))
    assert {f.run for f in selected.get_frames()} == {"explore-01-r000-stop", "explore-01-r001-stop"}


def test_a_track_without_windows_gives_no_frames(make_track, host, sites):
    track = make_track([sites[0], sites[1]], windows=False)
    selected = select_hop_frames(
        track, explored(track, host), settings(), orm.Int(9), orm.Str("explore-01"), orm.Int(0)
    )
    assert len(selected) == 0


def test_labels_are_matched_by_id_and_settle_a_class(make_track, host, sites):
    a, near, far = sites
    track = make_track([a, near], [a, far])
    catalogue = explored(track, host)
    selection = LearnSettings().selection.model_copy(update={"min_verified": 3})
    assert len(in_need(catalogue.pathways, selection)) == 2
    selected = select_hop_frames(track, catalogue, settings(), orm.Int(99), orm.Str("explore-01"), orm.Int(0))
    frames = selected.get_frames()
    nearest = min(catalogue.pathways, key=lambda p: p["distance"])["name"]
    outcomes = {f.id: {"outcome": "verified" if f.pathway == nearest else "moved"} for f in reversed(frames)}
    known = record_labels(catalogue, selected, orm.Dict({"labels": outcomes}))
    labels = {p["name"]: p["labels"] for p in known.pathways if p["labels"]}
    assert labels.pop(nearest) == {"verified": 3} and list(labels.values()) == [{"moved": 3}]
    assert [p["name"] for p in in_need(known.pathways, selection)] == list(labels)
    given_up = selection.model_copy(update={"max_attempts": 3})
    assert in_need(known.pathways, given_up) == []
    # labels survive an exploration with a new model that does not show the class
    later = update_catalogue(explored(make_track([a, near]), host, "explore-02"), known, orm.Bool(False))
    assert {p["name"]: p["labels"] for p in later.pathways if p["labels"]} == {nearest: {"verified": 3}} | labels


def test_selected_frames_survive_the_schema(make_track, host, sites, make_frames):
    track = make_track([sites[0], sites[1]])
    selected = select_hop_frames(
        track, explored(track, host), settings(), orm.Int(9), orm.Str("explore-01"), orm.Int(0)
    )
    merged = merge_frames(a=selected, b=FrameSetData.from_frames([replace(f) for f in selected.get_frames()]))
    assert merged.content == selected.content
