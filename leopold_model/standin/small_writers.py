"""OSZICAR, CONTCAR, XDATCAR and CHGCAR."""

from __future__ import annotations

import numpy as np

from leopold_model.standin.fortran import e_format
from leopold_model.standin.outcar_header import chgcar_points
from leopold_model.standin.settings import Job
from leopold_model.standin.step import Step

OSZICAR_TITLE = "       N       E                     dE             d eps       ncg     rms          rms(c)\n"


def oszicar(step: Step, ispin: int, previous_energy: float) -> str:
    """The electronic iterations of a step and its summary line."""
    text = OSZICAR_TITLE + "".join(
        f"DAV:{k:4d}    {e_format(energy, 19, 12)}   {e_format(change, 12, 5)}   {e_format(residual, 12, 5)}     0   "
        f"{e_format(residual, 9, 3)}\n"
        for k, (energy, change, residual) in enumerate(step.iterations, start=1)
    )
    energy = e_format(step.energy, 14, 8)
    mag = f"  mag={step.magnetization:11.4f}" if ispin == 2 else ""
    if step.temperature is None:
        change = e_format(step.energy - previous_energy, 13, 6)
        return text + f"{step.index:4d} F= {energy} E0= {energy}  d E ={change}{mag}\n"
    return text + (
        f"{step.index:7d} T={step.temperature:7.0f}. E= {e_format(step.total, 14, 8)} F= {energy} E0= {energy} "
        f" EK= {e_format(step.kinetic, 11, 5)} SP= {e_format(step.nose_potential, 8, 2)} "
        f"SK= {e_format(step.nose_kinetic, 8, 2)}{mag}\n"
    )


class ContcarWriter:
    """The structure to continue from, written after every step, under element names as VASP writes it."""

    def __init__(self, job: Job):
        poscar = job.poscar
        cell = "".join("%23.16f" * 3 % tuple(row) + "\n" for row in poscar.cell)
        self.head = f"{poscar.comment}\n   1.00000000000000\n{cell}{_counts(poscar.types, poscar.counts)}"
        n, selective = len(job.masses), not poscar.free.all()
        self.head += ("Selective dynamics\n" if selective else "") + "Direct\n"
        flags = ["".join(f"{'FT'[int(flag)]:>4s}" for flag in row) if selective else "" for row in poscar.free]
        self.position_rows = "".join("%20.16f" * 3 + flag + "\n" for flag in flags)
        self.velocity_rows = ("%16.8E" * 3 + "\n") * n

    def text(self, fractional: np.ndarray, velocities: np.ndarray | None) -> str:
        """`velocities` (n, 3) in Angstrom/fs, half a step behind the positions."""
        text = self.head + self.position_rows % tuple(wrap(fractional).ravel())
        return text if velocities is None else text + "\n" + self.velocity_rows % tuple(velocities.ravel())


class XdatcarWriter:
    """XDATCAR, a configuration after the other."""

    def __init__(self, job: Job):
        poscar = job.poscar
        self.rows = ("%12.8f" * 3 + "\n") * len(job.masses)
        cell = "".join("%12.6f" * 3 % tuple(row) + "\n" for row in poscar.cell)
        self.head = f"{poscar.comment}\n           1\n{cell}{_counts(poscar.types, poscar.counts)}"

    def text(self, step: Step) -> str:
        """One configuration; VASP adds one every NBLOCK steps."""
        return f"Direct configuration={step.index:6d}\n" + self.rows % tuple(step.fractional.ravel())


def _counts(names: tuple[str, ...], counts: tuple[int, ...]) -> str:
    return "".join(f" {name:>4s}" for name in names) + "\n" + "".join(f"{n:6d}" for n in counts) + "\n"


def wrap(fractional: np.ndarray) -> np.ndarray:
    """Into [0, 1): what `%` leaves at 1.0 by rounding belongs at 0."""
    wrapped = fractional % 1.0
    return np.where(wrapped >= 1.0, 0.0, wrapped)


def chgcar(job: Job, step: Step) -> str:
    """Valence density and, spin polarised, magnetization density: Gaussians with the charge and moment of each atom.

    A picture for a viewer, with the right integrals and the carrier on its site; no electronic structure is behind it.
    """
    cell = job.poscar.cell
    grid = [chgcar_points(length) for length in np.linalg.norm(cell, axis=1)]
    scale = step.charges.sum(axis=1)
    weights = job.valences * job.nelect / job.valences.sum() if scale.sum() <= 0 else scale * job.nelect / scale.sum()
    text = ContcarWriter(job).text(step.fractional, None) + "\n" + _density(cell, grid, step.fractional, weights)
    if job.ispin == 2:
        moments = step.moments.sum(axis=1)
        total = moments.sum()
        # the part of the carrier outside all spheres is shared out, so that the integral is the cell's moment
        moments = moments * step.magnetization / total if total else moments
        text += _density(cell, grid, step.fractional, moments)
    return text


def _density(cell: np.ndarray, grid: list[int], fractional: np.ndarray, weights: np.ndarray) -> str:
    width = 0.5  # Angstrom
    modes = [np.fft.fftfreq(n, 1.0 / n) for n in grid]
    phases = [np.exp(-2j * np.pi * np.outer(fractional[:, k], modes[k])) for k in range(3)]
    vectors = np.stack(np.meshgrid(*modes, indexing="ij"), axis=-1) @ (2 * np.pi * np.linalg.inv(cell).T)
    amplitude = np.einsum("a,ax,ay,az->xyz", weights, *phases, optimize=True)
    amplitude *= np.exp(-0.5 * width**2 * (vectors**2).sum(axis=-1))
    # times the number of points: the inverse transform divides by it, and the file wants density times volume
    values = np.fft.ifftn(amplitude).real.ravel(order="F") * amplitude.size
    rows, rest = divmod(len(values), 5)
    body = (" %17.11E" * 5 + "\n") * rows + (" %17.11E" * rest + "\n" if rest else "")
    return "".join(f"{n:5d}" for n in grid) + "\n" + body % tuple(values)
