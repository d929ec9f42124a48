"""The catalogue end to end: from a track file to named classes, rates, JSON and the `leopold hops` command."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import poisson

from leopold_model.analysis import AnalysisError
from leopold_model.analysis.catalogue import Catalogue, build_catalogue, merge
from leopold_model.analysis.rates import garwood
from leopold_model.cli import main
from leopold_model.frames import read_frames
from leopold_model.tracks import ReplicaTrack, TrackError, TrackFile, Windows, read_track, write_track
from leopold_model.tracks import merge as merge_tracks

from .crystals import host, mgo, site_map, track_of

NEAREST = "O-O 2.97 A <110> x12"


def replica(atoms, track, *, temperature=600.0, index=0, **kwargs):
    return ReplicaTrack(
        temperature=temperature,
        replica=index,
        timestep=track.timestep,
        seed=11,
        sites=track.sites,
        moments=track.moments,
        carrier=track.sites[:, :1],
        cell=atoms.cell.array,
        positions=atoms.positions,
        **kwargs,
    )


@pytest.fixture(scope="module")
def run():
    """A hole in MgO (64 atoms) that hops to three nearest neighbours and once by 4.2 A; and one at 300 K that
    rests."""
    atoms = mgo((2, 2, 2))
    sites = site_map(atoms, host(mgo(), "O"))
    oxygen = np.flatnonzero(atoms.numbers == 8)
    path = [int(oxygen[0])]
    for length in (2.97, 2.97, 4.2, 2.97):
        path.append(next(int(j) for j in oxygen if j not in path and abs(sites.distance(path[-1], j) - length) < 0.01))
    hot = replica(atoms, track_of([(site, 250) for site in path], n_sites=64))
    cold = replica(atoms, track_of([(path[0], 2000)], n_sites=64), temperature=300.0, index=1)
    return TrackFile(atoms.numbers, "hole", 1, (hot, cold))


def test_catalogue_counts_classes_and_bounds_the_unseen(run):
    catalogue = build_catalogue(run, host(mgo(), "O"), run="round-0")
    assert catalogue.summary == "seen 2 of 5 classes below 7 A; 4 hops in 3.3 ps"
    assert catalogue.seen == (NEAREST, "O-O 4.20 A <100> x6")
    assert catalogue.counts(600.0)[NEAREST] == 3
    assert catalogue.counts(300.0)[NEAREST] == 0
    rates = catalogue.rates(300.0)
    assert rates[NEAREST].high == pytest.approx(3.0 / 2000, rel=0.01), "unseen: rate < 3 / t"
    assert {p.name: p.resolvable for p in catalogue.pathways}["O-O 6.64 A <310> x24"] == 0
    assert [p.ambiguous for p in catalogue.pathways if p.hops] == [0, 1]
    assert catalogue.count_table()["by_tau_min_fs"]["50"] == 4
    with pytest.raises(AnalysisError, match="runs at 300"):
        catalogue.rates(450.0)


def test_json_round_trip_and_merge(run):
    catalogue = build_catalogue(run, host(mgo(), "O"), run="round-0")
    text = json.dumps(catalogue.to_dict())
    again = Catalogue.from_dict(json.loads(text))
    assert json.dumps(again.to_dict()) == text
    both = merge([catalogue, again])
    assert both.n_hops == 2 * catalogue.n_hops
    assert both.carrier_time() == 2 * catalogue.carrier_time()
    assert both.counts()[NEAREST] == 6
    with pytest.raises(AnalysisError, match=r"tau_min = 50\.0 and 80\.0"):
        merge([catalogue, build_catalogue(run, host(mgo(), "O"), tau_min=80.0)])
    with pytest.raises(AnalysisError, match="not a pathway catalogue"):
        Catalogue.from_dict({"a": 1})


def test_counts_say_what_was_not_counted(run):
    catalogue = build_catalogue(run, host(mgo(), "O"))
    counts = catalogue.to_dict()["counts"]
    assert {name: counts[name] for name in ("hops", "back", "adiabatic", "relayed", "excursions", "changes")} == {
        "hops": 4, "back": 0, "adiabatic": 4, "relayed": 0, "excursions": 0, "changes": 4,
    }  # fmt: skip
    assert list(counts["by_tau_min_fs"]) == ["5", "10", "20", "50", "100", "150", "200"]
    assert catalogue.count_table(300.0)["hops"] == 0
    assert [p.adiabatic for p in catalogue.pathways if p.hops] == [3, 1]


def test_catalogues_of_version_1_are_read(run):
    data = build_catalogue(run, host(mgo(), "O")).to_dict()
    for r in data["replicas"]:
        for hop in r["table"]["hops"]:
            del hop["adiabatic"]
    again = Catalogue.from_dict(data | {"version": 1})
    assert [p.adiabatic for p in again.pathways if p.hops] == [3, 1]


def test_hop_beyond_the_cutoff_gets_its_own_class(run):
    catalogue = build_catalogue(run, host(mgo(), "O"), cutoff=4.0)
    assert catalogue.summary.startswith("seen 1 of 1 classes below 4 A and 1 beyond")
    assert "O-O 4.20 A <100> x6" in catalogue.seen
    assert catalogue.classes.names == Catalogue.from_dict(catalogue.to_dict()).classes.names


def test_a_replica_that_never_began_is_left_out(run):
    hot = run.replicas[0]
    stopped = replace(hot, replica=2, sites=hot.sites[:0], moments=hot.moments[:0], carrier=hot.carrier[:0])
    crystal = host(mgo(), "O")
    found = build_catalogue(replace(run, replicas=(stopped, *run.replicas)), crystal)
    assert found.to_dict() == build_catalogue(run, crystal).to_dict()
    with pytest.raises(AnalysisError, match="0 steps"):
        build_catalogue(replace(run, replicas=(stopped,)), crystal)


def test_zero_hops_is_a_valid_catalogue(run):
    cold = TrackFile(run.numbers, "hole", 1, run.replicas[1:])
    catalogue = build_catalogue(cold, host(mgo(), "O"))
    assert catalogue.n_hops == 0
    assert catalogue.seen == ()
    assert len(catalogue.unseen) == 5
    assert Catalogue.from_dict(catalogue.to_dict()).n_hops == 0


def test_mean_positions_are_preferred(run):
    hot = run.replicas[0]
    molten = hot.positions + 1.5 * np.random.default_rng(0).normal(size=(64, 3))
    track = TrackFile(run.numbers, "hole", 1, (replace(hot, positions=molten, mean_positions=hot.positions),))
    assert build_catalogue(track, host(mgo(), "O")).n_hops == 4


def test_garwood_covers():
    """Exact coverage of the interval over the Poisson distribution, at least the nominal one for every mean."""
    for mean in (1.5, 4.0, 20.0):
        counts = np.arange(1, 120)
        inside = [g.low <= mean <= g.high for g in (garwood(int(n), 1.0) for n in counts)]
        covered = poisson.pmf(counts, mean)[inside].sum() + poisson.pmf(0, mean) * (mean <= garwood(0, 1.0).high)
        assert 0.95 <= covered <= 0.995
    assert (garwood(10, 1.0).low, garwood(10, 1.0).high) == pytest.approx((4.795, 18.390), abs=1e-3)  # Garwood's table
    with pytest.raises(AnalysisError, match="positive time"):
        garwood(1, 0.0)


# ---------------------------------------------------------------------------------------- files and command


def test_track_file_round_trip(run, tmp_path):
    windows = Windows(
        positions=np.zeros((2, 3, 64, 3)),
        step=np.arange(6).reshape(2, 3),
        carrier=np.ones((2, 3, 1)),
        moments=np.ones((2, 3, 64)),
        occupations=np.zeros((2, 3, 64, 2)),
        force_spread=np.ones((2, 3)),
        n_missed=5,
    )
    ending = replace(windows, **{k: v[:1] for k, v in vars(windows).items() if k != "n_missed"})
    hot = replace(run.replicas[0], windows=windows, ending=ending, energy=np.arange(4.0), stride=300, status="unstable")
    track = TrackFile(run.numbers, "hole", 1, (hot, run.replicas[1]))
    write_track(tmp_path / "track.h5", track)
    first = (tmp_path / "track.h5").read_bytes()
    write_track(tmp_path / "track.h5", track)
    assert (tmp_path / "track.h5").read_bytes() == first
    again = read_track(tmp_path / "track.h5")
    assert again.carrier == "hole"
    assert again.temperatures == (300.0, 600.0)
    assert np.array_equal(again.replicas[0].sites, hot.sites)
    assert np.allclose(again.replicas[0].moments, hot.moments)
    assert again.replicas[0].windows.n_missed == 5
    assert again.replicas[0].status == "unstable"
    assert np.array_equal(again.replicas[0].ending.step, [[0, 1, 2]])
    assert again.replicas[1].windows is None and again.replicas[1].ending is None
    assert len(merge_tracks([again, again]).replicas) == 4
    with h5py.File(tmp_path / "trajectory.h5", "w") as h5:
        h5["leopold_track"] = h5py.ExternalLink("track.h5", "/")
    assert len(read_track(tmp_path / "trajectory.h5").replicas) == 2


def test_unreadable_tracks_are_explained(tmp_path):
    with pytest.raises(TrackError, match="does not exist"):
        read_track(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(TrackError, match="not a readable HDF5"):
        read_track(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w"):
        pass
    with pytest.raises(TrackError, match="no carrier track"):
        read_track(tmp_path / "other.h5")
    with h5py.File(tmp_path / "broken.h5", "w") as h5:
        h5["leopold_track"] = h5py.ExternalLink("gone.h5", "/")
    with pytest.raises(TrackError, match=r"gone\.h5"):
        read_track(tmp_path / "broken.h5")


def test_hops_command(run, tmp_path):
    write_track(tmp_path / "track.h5", run)
    result = CliRunner().invoke(main, ["hops", str(tmp_path / "track.h5"), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["n_hops"] == 4
    assert found["pathways"][0]["name"] == NEAREST
    assert found["rates"][0]["temperature"] == 300.0
    mgo().write(tmp_path / "host.cif")
    text = (
        CliRunner()
        .invoke(main, ["hops", str(tmp_path / "track.h5"), "--host", str(tmp_path / "host.cif"), "--species", "O"])
        .output
    )
    assert "seen 2 of 5 classes below 7 A" in text
    assert "cannot show: O-O 6.64 A <310> x24" in text


def test_hops_command_writes_structures_across_the_hops(run, tmp_path):
    hot = run.replicas[0]
    rows = round(build_catalogue(run, host(mgo(), "O")).replicas[0].table.hops[0].time) + np.arange(-30, 31, 5)
    moments = np.zeros((1, 13, 64))
    moments[0, np.arange(13), hot.sites[rows, 0]] = hot.moments[rows, 0]
    windows = Windows(
        positions=hot.positions + 1e-3 * rows[None, :, None, None],
        step=rows[None],
        carrier=hot.sites[None, rows, :1],
        moments=moments,
        occupations=np.stack([moments, 0 * moments], axis=-1),
        force_spread=np.zeros((1, 13)),
    )
    write_track(tmp_path / "track.h5", TrackFile(run.numbers, "hole", 1, (replace(hot, windows=windows),)))
    arguments = ["hops", str(tmp_path / "track.h5"), "--frames", str(tmp_path / "hops.h5")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and "7 structures across hops" in result.output, result.output
    frames = read_frames(tmp_path / "hops.h5")
    assert [f.step - rows[6] for f in frames] == [-20, -10, -5, 0, 5, 10, 20], "fs around the crossing"
    hop = build_catalogue(run, host(mgo(), "O")).replicas[0].table.hops[0]
    assert (frames[0].carrier_sites, frames[-1].carrier_sites) == ((hop.i,), (hop.j,))
    assert {f.pathway for f in frames} == {NEAREST} and len({f.run for f in frames}) == 1
    write_track(tmp_path / "track.h5", run)
    assert "kept no window" in CliRunner().invoke(main, arguments).output


def test_several_trajectories_are_replicas(run, tmp_path):
    for k, replica in enumerate(run.replicas):
        write_track(tmp_path / f"{k}.h5", TrackFile(run.numbers, "hole", 1, (replica,)))
    write_track(tmp_path / "both.h5", run)

    def found(*names):
        paths = [str(tmp_path / name) for name in names]
        return json.loads(CliRunner().invoke(main, ["transport", *paths, "--json", "--samples", "50"]).stdout)

    assert found("0.h5", "1.h5")["temperatures"] == found("both.h5")["temperatures"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--species", "Ti"], "choose one of Mg, O"), (["--host", "none.cif"], "not a readable structure"), ([], "empty")],
)
def test_hops_command_refuses(run, tmp_path, arguments, message):
    hot = run.replicas[0]
    if not arguments:
        hot = replace(hot, sites=hot.sites[:0], moments=hot.moments[:0], carrier=hot.carrier[:0])
    write_track(tmp_path / "track.h5", TrackFile(run.numbers, "hole", 1, (hot,)))
    result = CliRunner().invoke(main, ["hops", str(tmp_path / "track.h5"), *arguments])
    assert result.exit_code == 1
    assert message in result.output


def test_a_track_without_replicas_or_with_parts_missing_is_explained(run, tmp_path):
    path = tmp_path / "track.h5"
    write_track(path, TrackFile(run.numbers, "hole", 1, ()))
    for arguments in ([], ["--species", "O"]):
        result = CliRunner().invoke(main, ["hops", str(path), *arguments])
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
        assert "run longer" in result.output or "nothing was run" in result.output
    for missing in ("replica_000/sites", "replica_000/carrier", "numbers"):
        write_track(path, run)
        with h5py.File(path, "r+") as h5:
            del h5[missing]
        result = CliRunner().invoke(main, ["hops", str(path)])
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
        assert "is damaged" in result.output and missing.rpartition("/")[2] in result.output
    for option in ("--cutoff", "--tau-min"):
        result = CliRunner().invoke(main, ["hops", str(path), option, "-1"])
        assert result.exit_code == 2 and option in result.output


def test_a_run_without_a_hop_gives_upper_limits(run, tmp_path):
    still = run.replicas[0]
    n = len(still)
    still = replace(still, sites=np.tile(still.sites[:1], (n, 1)), moments=np.tile(still.moments[:1], (n, 1)),
                    carrier=np.tile(still.carrier[:1], (n, 1)))  # fmt: skip
    write_track(tmp_path / "track.h5", TrackFile(run.numbers, "hole", 1, (still,)))
    result = CliRunner().invoke(main, ["hops", str(tmp_path / "track.h5")])
    assert result.exit_code == 0 and "; 0 hops in" in result.output and "< " in result.output


def test_validate_command(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("kind: md\nsteps: 100\n")
    bad.write_text("kind: md\nstep: 100\ntimestep: -1\n")
    result = CliRunner().invoke(main, ["validate", str(good)])
    assert (result.exit_code, result.output[:2]) == (0, "OK")
    result = CliRunner().invoke(main, ["validate", str(bad)])
    assert result.exit_code == 2
    assert "did you mean 'steps'" in result.output
    assert "timestep = -1" in result.output


def test_transport_command(run, tmp_path):
    write_track(tmp_path / "track.h5", run)
    result = CliRunner().invoke(main, ["transport", str(tmp_path / "track.h5"), "--json", "--seed", "3"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    cold, hot = found["temperatures"]
    # a memoryless walk on a lattice of equivalent sites: D = sum of n d^2 over 6 t
    squares = 3 * 2.97**2 + 4.2**2
    diffusion = hot["diffusion_isotropic_cm2_per_s"]
    assert diffusion["value"] == pytest.approx(0.1 * squares / (6 * hot["carrier_time_fs"]), rel=0.01)
    assert diffusion["low"] < diffusion["value"] < diffusion["high"]
    kt = 8.617333e-5 * 600
    assert hot["mobility_isotropic_cm2_per_Vs"]["value"] == pytest.approx(diffusion["value"] / kt, rel=1e-6)
    assert cold["diffusion_isotropic_cm2_per_s"]["value"] == 0 < cold["diffusion_isotropic_cm2_per_s"]["high"]
    assert found["arrhenius"] is None and "two temperatures" in found["arrhenius_missing"]
    assert found["seed"] == 3
    text = CliRunner().invoke(main, ["transport", str(tmp_path / "track.h5")]).output
    assert f"{NEAREST}  3 hops" in text and "activation energy: an activation energy needs hops" in text


def test_transport_command_refuses_what_is_no_track(tmp_path):
    (tmp_path / "track.h5").write_text("no")
    result = CliRunner().invoke(main, ["transport", str(tmp_path / "track.h5")])
    assert result.exit_code == 1 and "leopold transport: " in result.output
