"""A page as a headless browser shows it; tests that need one are skipped where Chromium is not installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome on PATH")

# appended to a copy of the page: what the browser made of it, as text of an element
PROBE = """
<script>
addEventListener("load", () => setTimeout(() => {
  const told = document.createElement("pre");
  told.id = "probe";
  told.textContent = JSON.stringify({
    title: document.title,
    images: [...document.images].map(i => i.complete ? i.naturalWidth : 0),
    loaded: performance.getEntriesByType("resource").map(e => e.name.slice(0, 60)),
    wide: document.documentElement.scrollWidth - innerWidth,
    extra: (%s),
  });
  document.body.append(told);
}, 200));
</script>
"""


def seen(page: Path, folder: Path, extra: str = "null") -> dict:
    """`title`, widths of `images`, what was `loaded` beside the page, `wide` (pixels that stick out), the value of the
    JavaScript expression `extra`, and `errors` on the console."""
    copy = folder / "probed.html"
    copy.write_text(page.read_text() + PROBE % extra)
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'browser'}", "--window-size=1000,800",
        "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", copy.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, flags=re.S)
    assert found, f"the page did not come to its end:\n{done.stderr[-2000:]}"
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return {**json.loads(unescape(found[1])), "errors": errors}
