"""Frames as a small film to turn and to stop, for notebooks: atoms outlined by element and filled by their moments, so
that the hopping carrier is what one sees. One piece of HTML, nothing loaded from anywhere.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

from leopold_model.frames import Frame, FrameError
from leopold_model.tracks import TrackFile


class Viewer:
    """Frames of the same atoms, in time order. In a notebook the last value of a cell is shown; `save` writes a page.

    Atoms keep the image they have in the first frame, so that nothing jumps across the boundary. `times` (one per
    frame, fs) are shown beside the step where they are given.
    """

    def __init__(self, frames: Sequence[Frame], times: Sequence[float] | None = None, *, size: int = 460):
        if not frames:
            raise FrameError("no frames to show")
        first = frames[0]
        for frame in frames:
            if not np.array_equal(frame.numbers, first.numbers):
                raise FrameError(f"step {frame.step}: other atoms than in the first frame; show each set by itself")
            if frame.spin_moments is None:
                raise FrameError(
                    f"step {frame.step}: neither occupations nor moments: where the carrier is cannot be seen"
                )
        if times is not None and len(times) != len(frames):
            raise FrameError(f"{len(times)} times for {len(frames)} frames: give one of each")
        self.frames, self.times, self.size = list(frames), times, size

    def save(self, path: str | Path) -> None:
        """Write it as a page of its own."""
        Path(path).write_text(self.page(), encoding="utf8")

    def page(self) -> str:
        """The HTML."""
        return _PAGE.replace("__SIZE__", str(self.size)).replace("__DATA__", json.dumps(self._data()))

    def _repr_html_(self) -> str:
        # a frame of its own: a page may hold several, and they share no names
        size = f'width="{self.size + 20}" height="{self.size + 90}"'
        return f'<iframe srcdoc="{html.escape(self.page())}" {size} style="border:0"></iframe>'

    def _data(self) -> dict:
        first = self.frames[0]
        positions = np.array([frame.positions for frame in self.frames])
        scaled = (positions - positions[0]) @ np.linalg.inv(first.cell)
        positions -= np.round(scaled) @ first.cell
        centre = first.cell.sum(axis=0) / 2
        corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        elements = sorted({int(z) for z in first.numbers})
        titles = [f"step {frame.step}" for frame in self.frames]
        if self.times is not None:
            titles = [f"{time:.0f} fs" for time in self.times]
        return {
            "positions": np.round(positions - centre, 3).tolist(),
            "moments": np.round([frame.spin_moments for frame in self.frames], 3).tolist(),
            "corners": (corners @ first.cell - centre).round(3).tolist(),
            "element": [elements.index(int(z)) for z in first.numbers],
            "symbols": [chemical_symbols[z] for z in elements],
            "colours": [f"rgb({','.join(str(int(255 * c)) for c in jmol_colors[z])})" for z in elements],
            "radii": [round(0.35 * float(covalent_radii[z]), 3) for z in elements],
            "carriers": [list(frame.carrier_sites) for frame in self.frames],
            "titles": titles,
        }


def hop_viewer(track: TrackFile, replica: int = 0, window: int = 0, *, size: int = 460) -> Viewer:
    """The structures that `leopold md` kept around one change of the charge state (a window of a track)."""
    found = track.replicas[replica]
    windows = found.windows
    if windows is None or window >= len(windows):
        kept = 0 if windows is None else len(windows)
        raise FrameError(f"window = {window}: replica {replica} has {kept} windows (see `window` of the md schema)")
    frames = [
        Frame(
            track.numbers, windows.positions[window, k], found.cell, moments=windows.moments[window, k],
            carrier=track.carrier, carrier_sites=tuple(windows.carrier[window, k]), step=int(windows.step[window, k]),
        )
        for k in range(windows.step.shape[1])
    ]  # fmt: skip
    return Viewer(frames, [frame.step * found.timestep for frame in frames], size=size)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>carrier</title><style>
body { font: 13px system-ui, sans-serif; margin: 4px; color: #333; background: #fff; }
canvas { border: 1px solid #ddd; cursor: grab; touch-action: none; }
input { width: 60%; vertical-align: middle; } b { font-weight: 600; }
</style></head><body>
<canvas width="__SIZE__" height="__SIZE__"></canvas>
<div><button>pause</button> <input type="range" min="0" value="0"> <span></span></div><div></div>
<script>
const data = __DATA__, [canvas, button, slider, title] =
  ["canvas", "button", "input", "span"].map(name => document.querySelector(name));
const pen = canvas.getContext("2d"), last = data.positions.length - 1;
const reach = Math.max(...data.corners.map(c => Math.hypot(...c))), most = Math.max(0.1, ...data.moments.flat());
let turn = 0.5, tilt = 0.35, zoom = 1.1, frame = 0, running = last > 0, held = null;
slider.max = last;
document.body.lastElementChild.previousElementSibling.innerHTML = data.symbols.map((symbol, k) =>
  `<b style="color:${data.colours[k]}; text-shadow:0 0 1px #000">&#9711;</b> ${symbol}`).join(" &nbsp; ") +
  " &nbsp; filled by moment; ring: the carrier's site";
function seen([x, y, z]) {
  const [c, s, C, S] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
  const [u, w] = [c * x - s * y, s * x + c * y], scale = zoom * canvas.width / 2 / reach;
  return [canvas.width / 2 + scale * u, canvas.height / 2 - scale * (C * z + S * w), C * w - S * z, scale];
}
function draw() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.strokeStyle = "#bbb"; pen.lineWidth = 1;
  for (let a = 0; a < 8; a++) for (const bit of [1, 2, 4]) if (!(a & bit)) {
    const [p, q] = [seen(data.corners[a]), seen(data.corners[a | bit])];
    pen.beginPath(); pen.moveTo(p[0], p[1]); pen.lineTo(q[0], q[1]); pen.stroke();
  }
  const places = data.positions[frame].map(seen);
  const far = places.map((p, k) => k).sort((a, b) => places[b][2] - places[a][2]);
  for (const k of far) {
    const [x, y, , scale] = places[k], kind = data.element[k], share = Math.max(0, data.moments[frame][k]) / most;
    pen.beginPath(); pen.arc(x, y, scale * data.radii[kind], 0, 7);
    const grey = Math.round(255 * (1 - share));
    pen.fillStyle = `rgb(${grey},${grey},${grey})`; pen.fill();
    pen.strokeStyle = data.colours[kind]; pen.lineWidth = 2; pen.stroke();
    if (data.carriers[frame].includes(k)) {
      pen.beginPath(); pen.arc(x, y, scale * data.radii[kind] + 4, 0, 7); pen.strokeStyle = "#d55e00"; pen.stroke();
    }
  }
  slider.value = frame; title.textContent = data.titles[frame];
}
button.onclick = () => { running = !running; button.textContent = running ? "pause" : "play"; };
slider.oninput = () => { running = false; button.textContent = "play"; frame = +slider.value; draw(); };
canvas.onpointerdown = e => { held = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); };
canvas.onpointerup = () => { held = null; };
canvas.onpointermove = e => { if (held) {
  turn += (e.clientX - held[0]) / 120; tilt += (e.clientY - held[1]) / 120; held = [e.clientX, e.clientY]; draw(); } };
canvas.onwheel = e => { e.preventDefault(); zoom *= Math.exp(-e.deltaY / 600); draw(); };
setInterval(() => { if (running) { frame = (frame + 1) % (last + 1); draw(); } }, 120);
draw();
</script></body></html>
"""
