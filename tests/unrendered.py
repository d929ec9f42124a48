"""Figures not rendered, or with few pixels, for tests that ask which figures there are and of which numbers."""

from pathlib import Path

import pytest
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from leopold_model.plots import strip, style


@pytest.fixture
def unrendered(monkeypatch):
    """PNG, PDF and GIF are empty files, CSV is written; tests/model/test_plots.py renders each figure."""
    touch = lambda _, path, **kwargs: Path(path).touch()  # noqa: E731
    monkeypatch.setattr(Figure, "savefig", touch)
    monkeypatch.setattr(FuncAnimation, "save", touch)
    for module in (style, strip):
        monkeypatch.setattr(module, "lay_out", lambda figure: None)


@pytest.fixture
def coarse(monkeypatch):
    """PNGs are drawn with few pixels, PDF and GIF are empty files: for tests that look at pictures."""
    draw = Figure.savefig

    def savefig(figure, path, **kwargs):
        if Path(path).suffix == ".png":
            draw(figure, path, **{**kwargs, "dpi": 40})
        else:
            Path(path).touch()

    monkeypatch.setattr(Figure, "savefig", savefig)
    monkeypatch.setattr(FuncAnimation, "save", lambda _, path, **kwargs: Path(path).touch())
