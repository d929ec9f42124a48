"""The tables of the report on where carriers are, of walks whose answer is known."""

import numpy as np
import pytest

from leopold_model.analysis.catalogue import build_catalogue
from leopold_model.analysis.production import transport_summary
from leopold_workflows.report_sites import around_defects, carrier_pairs, layers
from tests.analysis.test_around_defects import bound
from tests.analysis.test_carrier_pairs import two_carriers, vacant
from tests.analysis.test_slabs import host_of, square, track


def rows(lines, first):
    """Cells of the rows of a table whose second column begins so."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in cells if row[1].startswith(first)]


def test_shells_have_time_binding_and_stay():
    found = transport_summary(bound()[0], n_samples=50)["around_defects"]
    (first,) = rows(around_defects(found), "1")
    assert first[:5] == ["500", "1", "3", "60.0 ± 0.0 %", "9.4 %"] and first[6] == "0.60"
    assert float(first[5].split(" ± ")[0]) == pytest.approx(101, abs=1)
    (empty,) = rows(around_defects(found), "2")
    assert empty[3] == "0.0 ± 0.0 %" and empty[5:] == ["", ""], "nobody was there"


def test_layers_have_time_and_hops_within_and_between():
    atoms = square(2, repeat=(3, 3))
    bottom, top = (int(i) for i in np.argsort(atoms.positions[:2, 2]))
    catalogue = build_catalogue(track(atoms, [(bottom, 3000), (top, 7000)]), host_of(square(2)))
    lines = layers(transport_summary(catalogue, n_samples=50)["layers"])
    shares = {row[1]: row[3] for row in rows(lines, "S") if len(row) == 6}
    assert shares == {"S0": "70.0 %", "S1": "30.0 %"}
    hops = {row[1]: row[2] for row in rows(lines, "S") if len(row) == 4}
    assert hops == {"S0": "0", "S0-S1": "1", "S1": "0"}


def test_pairs_have_time_by_distance():
    atoms, sites = vacant()
    a, b = (int(i) for i in sites.carrier_atoms[[0, 1]])
    found = transport_summary(two_carriers(atoms, [(a, 500)], [(b, 500)]), n_samples=50)["carrier_pairs"]
    (here,) = rows(carrier_pairs(found), f"{sites.distance(a, b):.2f}")
    assert here[2] == "100.0 %"


def test_without_any_there_is_no_section():
    assert around_defects([]) == layers([]) == carrier_pairs([]) == []
