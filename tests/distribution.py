"""The wheel installed in an environment of its own, as a user has it: nothing of this folder is seen from there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def build(folder: Path) -> Path:
    """Source archive, and from it the wheel, into `folder`; returns the wheel."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """An environment in `folder` with `wheel`; its dependencies are those of this interpreter. Returns its `bin`."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    binaries = folder / "bin"
    python = binaries / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    # a path line, unlike a folder of site packages, does not make Python read the hook of the editable installation
    here, there = (Path(run(p, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
                   for p in (sys.executable, python))  # fmt: skip
    (there / "dependencies.pth").write_text(f"{here}\n")
    verdi = binaries / "verdi"
    verdi.write_text(f"#!{python}\nfrom aiida.cmdline.commands.cmd_verdi import verdi\nverdi()\n")
    verdi.chmod(0o755)
    return binaries


def run(*command, **kwargs) -> str:
    """Standard output; what failed says why."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, **kwargs)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout
