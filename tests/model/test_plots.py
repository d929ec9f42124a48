"""Figures: each writes PNG, PDF and CSV with the numbers it was given, whatever the data lack."""

import csv

import numpy as np
import pytest

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
}


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
