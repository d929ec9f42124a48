"""Figures: each writes PNG, PDF and CSV with the numbers it was given, whatever the data lack."""

import csv

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from leopold_model import plots

RATE = {"count": 12, "rate_per_ps": 1.2, "interval_per_ps": [0.6, 2.1]}
NONE = {"count": 0, "rate_per_ps": 0.0, "interval_per_ps": [0.0, 0.3]}
D = {"value": 1e-3, "low": 8e-4, "high": 1.3e-3}
CURVE = {
    "lag_fs": [100.0, 200.0, 300.0],
    "diffusion_cm2_per_s": [1e-3, 1.1e-3, 1e-3],
    "error_cm2_per_s": [1e-4, 1e-4, 2e-4],
}
WARM = {"temperature_K": 600.0, "rates": {"a": RATE, "b": RATE}, "diffusion_isotropic_cm2_per_s": D,
        "msd": {"lags_fs": [100.0, 200.0], "curve": CURVE}}  # fmt: skip
COLD = {"temperature_K": 300.0, "rates": {"a": RATE, "b": NONE}, "diffusion_isotropic_cm2_per_s": D, "msd": "too short"}
FROZEN = {**COLD, "rates": {"a": NONE, "b": NONE}}
ERRORS = {"forces": {"rmse": 0.05}, "occupations": {"rmse": 0.01}, "carrier_site_accuracy": 0.99}

NAN = float("nan")
LINE = {
    "s": [0.0, 0.5, 1.0], "energy_i": [0.0, 0.1, 0.3], "energy_j": [0.3, 0.1, 0.0], "energy_lower": [0.0, 0.1, 0.0],
    "on_j": [False, False, True], "moments": [[[0.7, 0.0], [0.0, 0.7]]] * 3, "verdict": "diabatic",
}  # fmt: skip
GAPS = {
    **LINE, "energy_i": [0.0, None, None], "energy_j": [None, None, 0.0], "energy_lower": [0.0, None, 0.0],
    "on_j": [False, None, True], "moments": [[[0.7, 0.0], None], [None, None], [None, [0.0, 0.7]]], "verdict": None,
}  # fmt: skip
HOP = plots.HopPictures(
    times=np.array([-10.0, 0.0, 10.0]),
    numbers=np.array([8, 8, 12]),
    cell=8.0 * np.eye(3),
    # the hop leads across the boundary of the cell, the third atom lies off its plane
    positions=np.array([[[0.5, 0.0, 0.0], [7.5, 0.0, 0.0], [0.0, 0.0, 4.0]]] * 3),
    moments=np.array([[0.7, 0.0, 0.0], [0.35, 0.35, 0.0], [0.0, 0.7, 0.0]]),
    i=0,
    j=1,
    name="a class",
)

BY_DISTANCE = {
    "distance_Angstrom": [2.0, 4.0], "sites": [2, 4], "population": [0.9, 0.1], "error": [None, None],
    "random": [0.3, 0.7],
}  # fmt: skip
CASES = {
    "pathway_bars": [
        ([{"name": "a", "hops": 5, "verified_labels": 2}, {"name": "b", "hops": 0, "verified_labels": 0}],),
        ([{"name": "b", "hops": 0}],),
    ],
    "round_errors": [
        ([{"round": 0, "train": ERRORS, "new_labels": {"forces": 0.2, "carrier_site_accuracy": 0.7}}, {"round": 1}],),
        ([{"round": 0}],),
    ],
    "moment_parity": [(np.linspace(0, 1, 30), np.linspace(0, 1, 30) ** 1.1), ([0.5], [0.5])],
    "hop_rates": [([COLD, WARM],), ([FROZEN],)],
    "mobility": [
        ([{"temperature_K": 300.0, **D}, {"temperature_K": 600.0, "value": 0.0, "low": 0.0, "high": 1e-4}],),
        ([{"temperature_K": 600.0, "value": 0.0, "low": 0.0, "high": 1e-4}],),
    ],
    "diffusion_plateau": [([COLD, WARM],), ([COLD],)],
    "direction_shares": [
        ([{"temperature_K": 300.0, "counts": {"a": 3, "b": 1, "c": 0}}, {"temperature_K": 600.0, "counts": {"a": 0}}],),
        ([{"temperature_K": 300.0, "counts": {"a": 0}}],),
    ],
    "hops_by_stay": [
        ([{"temperature_K": 300.0, "by_tau_min_fs": {"5": 9, "50": 4}},
          {"temperature_K": 600.0, "by_tau_min_fs": {"5": 0, "50": 0}}], 50.0),
    ],
    "polar_mobility": [
        ([{"temperature_K": 300.0, "mobility_cm2_per_Vs": {"value": np.diag([1.0, 2.0, 0.0]).tolist()}}],),
        ([{"temperature_K": 300.0, "mobility_cm2_per_Vs": {"value": np.zeros((3, 3)).tolist()}}],),
    ],
    "defect_correlation": [
        (
            [{"temperature_K": 300.0, "distance_Angstrom": [2.0, 4.0], "sites": [2, 4], "g": [3.0, 0.0],
              "error": [0.1, NAN], "residence": {"distance_Angstrom": [2.0], "time_ps": [None], "low_ps": [0.3],
                                                 "high_ps": [None]}}],
        ),
    ],
    "layer_populations": [
        (
            [{"temperature_K": 300.0, "axis": axis, "height_Angstrom": [0.0, 2.0], "population": [0.9, 0.1],
              "error": [NAN, NAN], "random": [0.5, 0.5]} for axis in "ab"],
        ),
    ],
    "around_defects": [
        ([{"temperature_K": 300.0, **dict.fromkeys(parts, BY_DISTANCE)}],)
        for parts in (("distances",), ("distances", "rows", "planes"))
    ],
    "hop_strip": [(HOP,), (HOP, 2)],
    "hop_barrier": [
        ({"sites": [4, 5], "pathway": "a", **LINE, "neb": {"converged": True, **LINE}, "reference": None},),
        ({"sites": [4, 5], "pathway": "a", **LINE, "neb": None, "reference": {"name": "VASP", **GAPS},
          "deviation": {"energy_meV": {"largest": 3.0}}},),
        ({"sites": [4, 5], "pathway": None, "distance_Angstrom": 2.9, "reference": {"name": "VASP", **GAPS}},),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), [(n, a) for n, cases in CASES.items() for a in cases])
def test_figure_comes_in_three_files(name, arguments, tmp_path):
    getattr(plots, name)(tmp_path / "figure.png", *arguments)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    with (tmp_path / "figure.csv").open() as handle:
        header, *rows = csv.reader(handle)
    assert header
    assert all(len(row) == len(header) for row in rows)


def test_data_beside_the_figure_are_those_drawn(tmp_path):
    plots.hop_rates(tmp_path / "rates.png", [COLD, WARM])
    with (tmp_path / "rates.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [(r["pathway"], float(r["temperature_K"]), int(r["hops"])) for r in rows] == [
        ("a", 300.0, 12), ("b", 300.0, 0), ("a", 600.0, 12), ("b", 600.0, 12),
    ]  # fmt: skip
    assert float(rows[1]["high"]) == 0.3


def test_equal_data_give_equal_files(tmp_path):
    for name in ("one", "two"):
        plots.mobility(tmp_path / f"{name}.png", [{"temperature_K": 300.0, **D}])
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_mobility_draws_the_fitted_line(tmp_path):
    fit = {
        "energy_eV": {"value": 0.1, "low": 0.09, "high": 0.11},
        "ln_prefactor": {"value": 1.0},
        "quantity": "ln mu*T",
    }
    rows = [{"temperature_K": t, **D} for t in (300.0, 600.0)]
    plots.mobility(tmp_path / "with.png", rows, fit)
    plots.mobility(tmp_path / "without.png", rows)
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


def test_the_line_of_a_fitted_diffusion_coefficient_is_the_mobility_it_stands_for(tmp_path, monkeypatch):
    """mu = |q| D / (k T): with D of 1 A^2/fs at infinite temperature and no barrier, 0.1 / (k T) cm^2/(V s)."""
    drawn = []
    plot = Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **k: drawn.append((x, y)) or plot(self, x, y, **k))
    flat = {"value": 0.0, "low": 0.0, "high": 0.0}
    fit = {"energy_eV": flat, "ln_prefactor": {"value": 0.0}, "quantity": "ln D"}
    plots.mobility(tmp_path / "fit.png", [{"temperature_K": t, **D} for t in (300.0, 600.0)], fit)
    ((x, y),) = drawn
    np.testing.assert_allclose(y, 0.1 / (8.617333262e-5 * 1000 / x))


def test_polar_mobility_is_that_of_the_direction(tmp_path):
    tensor = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, 0.0], [0.0, 0.0, 3.0]])
    row = {"temperature_K": 300.0, "mobility_cm2_per_Vs": {"value": tensor.tolist()}}
    plots.polar_mobility(tmp_path / "polar.png", [row])
    with (tmp_path / "polar.csv").open() as handle:
        at = {round(float(r["angle_degrees"])): r for r in csv.DictReader(handle)}
    assert [float(at[a]["xy"]) for a in (0, 90, 180)] == pytest.approx([1.0, 2.0, 1.0])
    assert float(at[46]["xy"]) == pytest.approx(1.5 + 0.5 * np.sin(np.radians(92)) - 0.5 * np.cos(np.radians(92)))
    assert float(at[90]["xz"]) == float(at[90]["yz"]) == pytest.approx(3.0)


def test_a_strip_shows_the_plane_of_the_hop_by_the_shortest_way(tmp_path):
    plots.hop_strip(tmp_path / "hop.png", HOP)
    with (tmp_path / "hop.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert {int(r["atom"]) for r in rows} == {0, 1} and len(rows) == 6
    first = {int(r["atom"]): r for r in rows if float(r["time_fs"]) == -10.0}
    assert float(first[0]["x_Angstrom"]) == pytest.approx(-0.5) and float(first[1]["x_Angstrom"]) == pytest.approx(0.5)
    assert [float(r["moment_muB"]) for r in rows if r["atom"] == "1"] == [0.0, 0.35, 0.7]


def test_an_animation_has_every_picture(tmp_path):
    plots.hop_animation(tmp_path / "hop.gif", HOP)
    with Image.open(tmp_path / "hop.gif") as film:
        assert film.n_frames == 3
