"""A hand-made vasprun.xml of two atoms with known content."""

from __future__ import annotations

import numpy as np

TERMS = '    <i name="alphaZ">      1.00000000 </i>\n'
CELL = np.diag([4.0, 5.0, 6.0])


def varray(name: str, rows) -> str:
    return (
        f'<varray name="{name}" >\n'
        + "".join(f"<v> {a:.8f} {b:.8f} {c:.8f} </v>\n" for a, b, c in rows)
        + "</varray>\n"
    )


def value(name: str, number: float) -> str:
    return f'<i name="{name}"> {number:16.8f} </i>\n'


def structure(k: int) -> str:
    positions = [(0.1 * k, 0.2, 0.3), (0.6, 0.7, 0.8)]
    return f"<structure>\n<crystal>\n{varray('basis', CELL)}</crystal>\n{varray('positions', positions)}</structure>\n"


def calculation(k: int, n_scf: int = 4, response: int = 0) -> str:
    """Step `k` (from 1): energy -10 k, kinetic energy 0.1 k, first force k, stress of k kB."""
    steps = ""
    for i in range(n_scf + response):
        whole = TERMS if i in (0, n_scf - 1) else ""
        change = 0.0 if i >= n_scf - 2 else 1.0
        steps += f"<scstep>\n<energy>\n{whole}{value('e_fr_energy', -10 * k + change)}</energy>\n</scstep>\n"
    return (
        f"<calculation>\n{steps}{structure(k)}{varray('forces', [(k, 0, 0), (-k, 0, 0)])}"
        f"{varray('stress', k * np.eye(3))}<energy>\n{value('e_fr_energy', -10 * k)}{value('e_wo_entrp', 3)}"
        f"{value('kinetic', 0.1 * k)}{value('lattice kinetic', 0.01)}{value('nosepot', 0.2)}{value('nosekinetic', 0.3)}"
        f"{value('total', -9 * k)}</energy>\n</calculation>\n"
    )


def force_field(k: int) -> str:
    """A step of a machine-learned force field: the same without a `calculation` around it."""
    return structure(k) + varray("forces", np.full((2, 3), 7.77)) + f"<energy>\n{value('e_fr_energy', 7.77)}</energy>\n"


def vasprun(body: str, incar: str = "", parameters: str = "") -> str:
    nelm = '<i type="int" name="NELM"> {} </i>\n'.format
    settings = nelm(4) + value("EDIFF", 1e-4) + value("NELECT", 11) + parameters
    atoms = "<rc><c>Ti</c><c> 1</c></rc>\n<rc><c>O </c><c> 2</c></rc>\n"
    kinds = "".join(
        f"<rc><c> 1</c><c>{element}</c><c> 1.0</c><c> {valence}</c><c> PAW_PBE {element}</c></rc>\n"
        for element, valence in (("Ti", 4.0), ("O ", 6.0))
    )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n'
        '<generator>\n<i name="version" type="string">6.4.2  </i>\n</generator>\n'
        f"<incar>\n{nelm(4)}{incar}</incar>\n"
        f'<parameters>\n<separator name="electronic" >\n{settings}</separator>\n'
        f'<separator name="response functions" >\n{nelm(1)}</separator>\n</parameters>\n'
        f'<atominfo>\n<array name="atoms" >\n<set>\n{atoms}</set>\n</array>\n'
        f'<array name="atomtypes" >\n<set>\n{kinds}</set>\n</array>\n</atominfo>\n'
        f"{body}</modeling>\n"
    )
