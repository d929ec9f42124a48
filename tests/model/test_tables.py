"""Tables against the objects they are made of, and without rows where there is nothing."""

from dataclasses import replace

import numpy as np

from leopold_model import tables
from leopold_model.analysis.catalogue import build_catalogue
from leopold_model.analysis.production import transport_summary
from leopold_model.analysis.sites import host_from_structure
from leopold_model.frame_tracks import track_of_frames
from leopold_model.frames import Frame
from leopold_model.standin.crystals import ideal_cell

CRYSTAL = ideal_cell("mgo", (2, 2, 2))
HOST = host_from_structure(CRYSTAL.numbers, CRYSTAL.positions, CRYSTAL.cell.array, sublattice="O")


def frames_of(sites, stay=100) -> list[Frame]:
    """Dynamics whose carrier stays `stay` fs on each of `sites`."""
    return [
        Frame(
            CRYSTAL.numbers, CRYSTAL.positions, CRYSTAL.cell.array, moments=0.7 * np.eye(len(CRYSTAL))[site],
            carrier="hole", carrier_sites=(site,), run="a", step=step, temperature=600.0, energy=-1.0,
            forces=np.full((len(CRYSTAL), 3), 2.0),
        )
        for step, site in enumerate(np.repeat(sites, stay))
    ]  # fmt: skip


def test_a_row_per_frame():
    frames = frames_of([40], stay=2)
    table = tables.frames([frames[0], replace(frames[1], forces=None, moments=None)])
    assert list(table.site) == [40, 40] and list(table["id"]) == [frames[0].id, table["id"][1]]
    assert table.moment[0] == 0.7 and np.isnan(table.moment[1])
    assert table.max_force[0] == np.sqrt(12) and np.isnan(table.max_force[1])
    assert set(table.n_atoms) == {64} and len(tables.frames([])) == 0 and "site" in tables.frames([])


def test_a_row_per_hop_and_rates_beside_them():
    near = [i for i in range(32, 64) if np.isclose(CRYSTAL.get_distance(40, i, mic=True), 4.181 / np.sqrt(2))]
    catalogue = build_catalogue(track_of_frames(frames_of([40, near[0], 40]), 1.0), HOST, 5.0, 50.0)
    hops = tables.hops(catalogue)
    assert list(zip(hops.i, hops.j, strict=True)) == [(40, near[0]), (near[0], 40)] and list(hops.back) == [False, True]
    step = CRYSTAL.get_distance(40, near[0], mic=True, vector=True)
    assert np.allclose(hops.loc[0, ["x", "y", "z"]].to_numpy(float), step)
    transport = transport_summary(catalogue, n_samples=20, seed=0)
    rates = tables.rates(transport).set_index("pathway")
    assert rates.hops["O-O 2.96 A <110> x12"] == 2
    assert np.isclose(rates.rate_per_ps["O-O 2.96 A <110> x12"], 2 / 0.3)
    told = transport["temperatures"][0]["mobility_isotropic_cm2_per_Vs"]
    (row,) = tables.mobility(transport).to_dict("records")
    assert (row["mobility"], row["mobility_low"], row["mobility_high"]) == (told["value"], told["low"], told["high"])


def test_no_hop_is_no_row():
    catalogue = build_catalogue(track_of_frames(frames_of([40]), 1.0), HOST, 5.0, 50.0)
    assert len(tables.hops(catalogue)) == 0 and "pathway" in tables.hops(catalogue)
