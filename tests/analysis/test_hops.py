"""The hop state machine: hand-made tracks with known hops, invariances, several carriers, published tracks."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.catalogue import build_catalogue
from leopold_model.analysis.hops import Track, find_hops
from leopold_model.analysis.sites import host_from_dynamics
from leopold_model.tracks import ReplicaTrack, TrackFile

from .crystals import track_from_moments, track_of

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "leopold" / "labels"


def pairs(table):
    return [(hop.i, hop.j) for hop in table.hops]


def test_clean_hops_times_and_dwell():
    table = find_hops(track_of([(0, 200), (3, 150), (5, 300)], ramp=9))
    assert pairs(table) == [(0, 3), (3, 5)]
    # 200 rows, then 9 rows of ramp whose middle one (row 204) has equal moments
    assert table.hops[0].time == pytest.approx(204.0)
    assert table.hops[1].time == pytest.approx(200 + 9 + 150 + 4)
    assert table.hops[1].dwell == pytest.approx(159.0)
    assert table.hops[0].max_sharing == pytest.approx(1.0)
    assert 1 < table.hops[0].duration < 9
    assert table.duration == 668
    assert (table.first_sites, table.last_sites) == ((0,), (5,))
    assert not any(hop.flickers for hop in table.hops)


def test_crossing_is_interpolated_between_frames():
    times = np.arange(0, 400, 10.0)
    m_1 = np.clip((times - 193.0) / 100 + 0.5, 0, 1)
    table = find_hops(track_from_moments(np.stack([1 - m_1, m_1], axis=1), dt=10.0))
    assert table.hops[0].time == pytest.approx(193.0)


def test_abrupt_jump_shares_nothing():
    table = find_hops(track_of([(0, 200), (1, 200)], ramp=0))
    assert table.hops[0].max_sharing < 0.1 and not table.hops[0].adiabatic
    assert table.hops[0].duration == 1


def test_adiabatic_is_told_from_a_jump_by_the_sharing_on_the_way():
    assert find_hops(track_of([(0, 200), (1, 200)], ramp=10)).hops[0].adiabatic
    # back and forth between two diabatic states: no row is shared
    assert not find_hops(track_of([(0, 200), *[(1, 1), (0, 1)] * 9, (1, 200)], ramp=0)).hops[0].adiabatic
    # a relay that jumps both times: while the site between leads, both ends have equally little
    table = find_hops(track_of([(0, 200), (1, 20), (2, 200)], ramp=0))
    assert table.hops[0].via == (1,) and not table.hops[0].adiabatic
    assert find_hops(track_of([(0, 200), (1, 20), (2, 200)], ramp=10)).hops[0].adiabatic
    # only the flank: 0.3 of 1 on the second site is still in the core of the first
    moments = np.full((300, 3), 0.0)
    moments[:150, 0] = moments[150:, 1] = 1.0
    moments[148:150, :2] = (0.75, 0.25)
    assert not find_hops(track_from_moments(moments)).hops[0].adiabatic


@pytest.mark.parametrize(("n_flickers", "changes"), [(1, 3), (3, 7)])
def test_flickers_are_not_hops(n_flickers, changes):
    stays = [(0, 200), *[(1, 4), (0, 4)] * n_flickers, (1, 200)]
    table = find_hops(track_of(stays, ramp=3))
    assert table.n_changes == changes
    assert pairs(table) == [(0, 1)]
    assert table.hops[0].flickers == 2 * n_flickers


def test_excursion_that_returns_is_counted_apart():
    table = find_hops(track_of([(0, 200), (1, 20), (0, 200)]))
    assert len(table) == 0
    assert table.n_excursions == 1
    assert table.n_back == 0
    assert table.last_sites == (0,)


def test_back_hop_within_the_return_time():
    stays = [(0, 300), (1, 120), (0, 300), (1, 300), (0, 300)]
    table = find_hops(track_of(stays))
    assert [hop.back for hop in table.hops] == [False, True, False, False]
    assert find_hops(track_of(stays), return_time=100).n_back == 0
    assert find_hops(track_of(stays), return_time=1000).n_back == 3


def test_pass_through_is_one_hop_with_its_way():
    table = find_hops(track_of([(0, 200), (1, 20), (2, 200)]))
    assert pairs(table) == [(0, 2)]
    assert table.hops[0].via == (1,)
    # detours on the way that came back are not part of it
    table = find_hops(track_of([(0, 200), (1, 20), (3, 10), (1, 10), (2, 200)]))
    assert table.hops[0].via == (1,)


def test_dips_that_enter_no_other_core_keep_the_stay():
    moments = np.full((400, 3), 0.02)
    moments[:150, 0] = moments[150:, 1] = 0.8
    moments[170:175, 2] = moments[195:200, 2] = 0.6  # shared with a third site, which never takes over
    table = find_hops(track_from_moments(moments), tau_min=100)
    assert pairs(table) == [(0, 1)]
    assert table.n_excursions == 0


def test_tau_table_falls_with_tau_min():
    table = find_hops(track_of([(0, 300), (1, 12), (0, 300), (1, 60), (2, 160), (1, 300)], ramp=1))
    counts = list(table.counts.values())
    assert counts == sorted(counts, reverse=True)
    assert table.counts[50.0] == len(table) == 3
    assert table.counts[10.0] == 5
    assert table.counts[200.0] == 1


def test_no_hop_is_a_valid_table():
    table = find_hops(track_of([(0, 500)]))
    assert len(table) == 0
    assert set(table.counts.values()) == {0}
    assert table.duration == 500


def test_delocalised_or_chattering_track_has_no_hop():
    assert len(find_hops(track_from_moments(np.full((300, 8), 0.1)))) == 0
    chatter = track_of([(0, 1), (1, 1)] * 200, ramp=0)
    table = find_hops(chatter)
    assert table.n_changes == 399
    assert len(table) == 0


def test_unfinished_stay_at_the_end_is_not_a_hop():
    assert len(find_hops(track_of([(0, 200), (1, 30)]))) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": np.zeros(0), "sites": np.zeros((0, 2)), "moments": np.zeros((0, 2))}, "empty"),
        ({"times": np.array([0.0, 1, 2, 5])}, r"gap: 3 fs after t = 2 fs"),
        ({"moments": np.full((4, 2), np.nan)}, "missing at step 0"),
        ({"n_carriers": 2}, "at least 3"),
        ({"sites": np.zeros((4, 3))}, "sites"),
    ],
)
def test_unusable_tracks_are_explained(change, message):
    values = {"times": np.arange(4.0), "sites": np.zeros((4, 2), int), "moments": np.ones((4, 2)), **change}
    with pytest.raises(AnalysisError, match=message):
        Track(**values)


def test_settings_are_checked():
    track = track_of([(0, 100)])
    for bad in ({"tau_min": 0}, {"core": 0.4}):
        with pytest.raises(AnalysisError, match=next(iter(bad))):
            find_hops(track, **bad)


# ---------------------------------------------------------------------------------------- several carriers


def ring(n):
    return lambda i, j: min((i - j) % n, (j - i) % n)


def chain_moments(paths, n, ramp=10, hold=150):
    """Carriers that walk together: `paths` (n_carriers, steps) sites on a chain of n, moments crossing linearly."""
    rows = []
    for step in range(len(paths[0])):
        if step:
            for s in np.linspace(0, 1, ramp + 2)[1:-1]:
                row = np.full(n, 0.01)
                for path in paths:
                    row[path[step - 1]] += 0.8 * (1 - s)
                    row[path[step]] += 0.8 * s
                rows.append(row)
        row = np.full(n, 0.01)
        for path in paths:
            row[path[step]] += 0.8
        rows += [row] * hold
    return np.array(rows)


def test_two_carriers_keep_their_identity():
    paths = [[0, 1, 1, 2, 2, 3], [6, 6, 5, 5, 4, 4]]
    table = find_hops(track_from_moments(chain_moments(paths, 12), n_carriers=2), distance=ring(12))
    assert [(h.carrier, h.i, h.j) for h in table.hops] == [(0, 0, 1), (1, 6, 5), (0, 1, 2), (1, 5, 4), (0, 2, 3)]


def test_simultaneous_hops_are_assigned_by_displacement():
    paths = [[0, 1], [6, 7]]
    moments = chain_moments(paths, 12, ramp=0)
    table = find_hops(track_from_moments(moments, n_carriers=2), distance=ring(12))
    assert sorted((h.carrier, h.i, h.j) for h in table.hops) == [(0, 0, 1), (1, 6, 7)]


def test_close_pass_beside_a_resting_carrier():
    paths = [[5, 5, 5, 5], [1, 2, 3, 4]]
    table = find_hops(track_from_moments(chain_moments(paths, 12), n_carriers=2), distance=ring(12))
    assert [(h.i, h.j) for h in table.hops] == [(1, 2), (2, 3), (3, 4)]
    assert {h.carrier for h in table.hops} == {table.first_sites.index(1)}


def test_a_carrier_may_take_the_place_that_another_has_left():
    """The first moves on by two sites with a short stop between; meanwhile the second is where it began."""
    moments = np.full((400, 12), 0.01)
    for rows, first, second in [((0, 150), 1, 0), ((150, 170), 2, 0), ((170, 175), 2, 1), ((175, 400), 3, 1)]:
        moments[slice(*rows), first], moments[slice(*rows), second] = 0.7, 0.9
    table = find_hops(track_from_moments(moments, n_carriers=2), distance=ring(12))
    moved_on, followed = sorted(table.hops, key=lambda h: h.j, reverse=True)
    assert (moved_on.i, moved_on.j, moved_on.via) == (1, 3, (2,)) and 150 <= moved_on.time <= 175
    assert (followed.i, followed.j) == (0, 1) and 169 <= followed.time <= 170
    assert not moved_on.adiabatic and not followed.adiabatic


@pytest.mark.parametrize("left", [0.8, 1.6])
def test_a_carrier_that_merged_or_was_lost_hops_nowhere(left):
    """For 500 fs one is on the site of the other, or in the band; noise that leads what is left is no site."""
    moments = chain_moments([[0, 0, 1], [6, 6, 6]], 12)
    gone = slice(160, 660)
    moments = np.insert(moments, 160, np.full((500, 12), 0.01), axis=0)
    moments[gone, 0], moments[gone, 3] = left, 0.08
    table = find_hops(track_from_moments(moments, n_carriers=2), distance=ring(12))
    assert [(h.i, h.j) for h in table.hops] == [(0, 1)] and table.unresolved == 500.0


def wandering(seed, n_carriers=3, n_sites=24, time=6000):
    """Moments (time, n_sites) of carriers that hop on a ring, each when it likes, crossings of 10 to 30 fs overlapping,
    and the hops (i, j) of each. A carrier between two sites has less moment on both together, so that the halves of one
    may lead those of another. No carrier takes a site that another holds or leaves."""
    rng = np.random.default_rng(seed)
    sites = list(rng.permutation(n_sites // 3)[:n_carriers] * 3)
    free_at, share = np.full(n_carriers, 70), np.full((time, n_sites), 0.01)
    hops = [[] for _ in sites]
    held = [{site} for site in sites]
    begun = [0] * n_carriers
    for t in range(time):
        for c in range(n_carriers):
            if t < free_at[c]:
                continue
            held[c] = {sites[c]}
            target = int(sites[c] + rng.choice([-1, 1])) % n_sites
            if rng.random() < 0.02 and not any(target in held[o] for o in range(n_carriers) if o != c):
                ramp = min(int(rng.integers(10, 30)), time - t)
                weight = np.linspace(0, 1, ramp)
                carried = 0.8 * (1 - rng.uniform(0, 0.5) * np.sin(np.pi * weight))
                share[begun[c] : t, sites[c]] += 0.8
                share[t : t + ramp, sites[c]] += carried * (1 - weight)
                share[t : t + ramp, target] += carried * weight
                hops[c].append((int(sites[c]), target))
                held[c], sites[c], begun[c] = {sites[c], target}, target, t + ramp
                free_at[c] = t + ramp + 70
    for c in range(n_carriers):
        share[begun[c] :, sites[c]] += 0.8
    return share, hops, begun


@pytest.mark.parametrize("seed", range(10))
def test_identities_survive_close_passes_and_crossings_at_once(seed):
    moments, hops, begun = wandering(seed)
    end = min(len(moments), max(begun) + 70)
    table = find_hops(track_from_moments(moments[:end], n_carriers=3), tau_min=30.0, distance=ring(24))
    assert sum(map(len, hops)) > 100, "a walk with nothing to confuse proves nothing"
    for carrier, start in enumerate(table.first_sites):
        truth = next(path for path in hops if path[0][0] == start)
        found = [(hop.i, hop.j) for hop in table.hops if hop.carrier == carrier]
        assert found == truth[: len(found)] and len(found) >= len(truth) - 1


def test_several_carriers_need_a_distance():
    with pytest.raises(AnalysisError, match="distance"):
        find_hops(track_from_moments(chain_moments([[0], [3]], 8), n_carriers=2))


# ---------------------------------------------------------------------------------------- invariances

walks = st.lists(st.tuples(st.integers(0, 5), st.integers(3, 140)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(walks, st.permutations(range(7)))
def test_relabelling_sites_relabels_hops(stays, permutation):
    track = track_of(stays, n_sites=7)
    table = find_hops(track)
    renamed = find_hops(replace(track, sites=np.array(permutation)[track.sites]))
    assert [(permutation[i], permutation[j]) for i, j in pairs(table)] == pairs(renamed)
    assert [h.time for h in table.hops] == [h.time for h in renamed.hops]
    assert table.counts == renamed.counts


@settings(max_examples=60, deadline=None)
@given(walks)
def test_time_reversal_reverses_hops(stays):
    track = track_of(stays, n_sites=7)
    backward = Track(track.times, track.sites[::-1], track.moments[::-1])
    table, reverse = find_hops(track), find_hops(backward)
    assert [(j, i) for i, j in reversed(pairs(table))] == pairs(reverse)
    assert table.counts == reverse.counts
    assert table.n_excursions == reverse.n_excursions


@settings(max_examples=60, deadline=None)
@given(walks)
def test_hops_chain_and_never_exceed_changes(stays):
    table = find_hops(track_of(stays, n_sites=7))
    for before, after in zip(table.hops, table.hops[1:], strict=False):
        assert before.j == after.i
        assert before.time < after.time
        assert after.dwell == pytest.approx(after.time - before.time)
    assert len(table) <= table.n_changes
    if table.hops:
        assert (table.first_sites[0], table.last_sites[0]) == (table.hops[0].i, table.hops[-1].j)


# ---------------------------------------------------------------------------------------- published tracks


def published(name, numbers):
    path = PUBLISHED / f"polaron_track_{name}.npz"
    if not path.is_file():
        pytest.skip(f"published track {path.name} is not on this machine")
    data = np.load(path)
    replica = ReplicaTrack(
        temperature=float(data["T0"]),
        replica=0,
        timestep=float(data["dt_fs"]),
        seed=0,
        sites=np.stack([data["pol"], data["pol2"]], axis=1),
        moments=np.stack([data["m"], data["m2"]], axis=1),
        carrier=data["pol"][:, None],
        cell=np.diag(data["cell"]),
        positions=data["ref_positions"],
    )
    return TrackFile(np.array(numbers), "hole", 1, (replica,))


def published_catalogue(name, numbers, species):
    track = published(name, numbers)
    start = track.replicas[0]
    host = host_from_dynamics(track.numbers, start.positions, start.cell, sublattice=species)
    return build_catalogue(track, host)


def test_published_mgo_track_hops_between_nearest_neighbours_only():
    catalogue = published_catalogue("MgO_600", [12] * 32 + [8] * 32, "O")
    assert [p.direction for p in catalogue.pathways if p.hops] == ["<110>"]
    assert catalogue.seen[0].endswith("x12")
    table = catalogue.replicas[0].table
    assert 0.5 * table.n_changes < len(table) < table.n_changes


def test_chatter_in_the_published_tio2_track_is_no_hop():
    catalogue = published_catalogue("TiO2_700", [22] * 64 + [8] * 128, "Ti")
    table = catalogue.replicas[0].table
    assert table.n_changes == 187
    assert len(table) < 0.15 * table.n_changes, "most changes are period-2 chatter"
    assert catalogue.seen[0].startswith("Ti-Ti 2.95 A [001]")
    # no hop of the table starts or ends on a site that was held for less than tau_min
    for before, after in zip(table.hops, table.hops[1:], strict=False):
        assert after.time - before.time >= table.tau_min
    assert list(table.counts) == [5, 10, 20, 50, 100, 150, 200] and table.counts[50] == len(table)


@pytest.mark.parametrize(("name", "numbers", "species", "undone"), [
    ("MgO_600", [12] * 32 + [8] * 32, "O", 4), ("TiO2_700", [22] * 64 + [8] * 128, "Ti", 110),
])  # fmt: skip
def test_hops_of_the_published_tracks_agree_with_the_raw_flags(name, numbers, species, undone):
    """Most changes of the flag in TiO2 are undone within 3 fs. Told from the flags alone: until the next hop the flag
    is for tau_min where the hop led, and a filter that follows the majority over 51 fs sees no fewer moves."""
    leading = published(name, numbers).replicas[0].sites[:, 0]
    changes = np.flatnonzero(np.diff(leading)) + 1
    assert sum(leading[b] == leading[a - 1] and b - a <= 3 for a, b in pairwise(changes)) == undone
    table = published_catalogue(name, numbers, species).replicas[0].table
    times = [round(hop.time) for hop in table.hops] + [len(leading)]
    for hop, (start, end) in zip(table.hops, pairwise(times), strict=True):
        assert np.sum(leading[start:end] == hop.j) >= table.tau_min
    majority = [np.bincount(leading[max(row - 25, 0) : row + 26]).argmax() for row in range(len(leading))]
    assert len(table) <= np.count_nonzero(np.diff(majority))
