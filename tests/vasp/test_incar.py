"""INCAR of a polaron run: sound by default, and every setting that would lose the carrier or its labels is named."""

from dataclasses import replace

import pytest
from pymatgen.io.vasp.inputs import Incar

from leopold_model.vasp.incar import (
    STAGES,
    PolaronCell,
    conflicts,
    defaults,
    incar_text,
    polaron_incar,
    reasons,
)
from leopold_model.vasp.run import VaspError

RUTILE = PolaronCell(["Ti", "O"], [96, 192], [12, 6], hubbard={"Ti": (2, 3.9, 0.0)})
MGO = PolaronCell(
    ["Mg", "O"], [32, 32], [8, 6], carrier="hole", hubbard={"Mg": (1, 0.0, 0.0), "O": (1, 10.0, 0.0)}
)  # fmt: skip
# what decides an energy: frames of different stages may be trained together only if these agree
LEVEL = ("PREC", "LREAL", "LASPH", "ISMEAR", "SIGMA", "ISPIN", "LMAXMIX")


@pytest.mark.parametrize("cell", [RUTILE, MGO])
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "delocalised"])
def test_the_defaults_have_no_conflict_and_a_reason_each(stage, cell):
    tags = polaron_incar(stage, cell, sites=[3])
    assert conflicts(tags, cell, occ_atoms=[3] if stage == "omc" else []) == []
    assert set(tags) <= set(reasons(stage))
    assert {tag: tags[tag] for tag in LEVEL} == {tag: polaron_incar("static", cell)[tag] for tag in LEVEL}
    assert set(defaults(stage)) <= set(tags)


def test_carriers_that_are_to_be_delocalised_get_no_spin():
    spread = replace(RUTILE, delocalised=True)
    tags = polaron_incar("delocalised", spread)
    assert tags["ISPIN"] == 1 and tags["NELECT"] == RUTILE.nelect and "MAGMOM" not in tags
    differ = {tag for tag in LEVEL if tags[tag] != polaron_incar("static", RUTILE)[tag]}
    assert differ == {"ISPIN"}
    assert "set ISPIN = 1" in conflicts(tags | {"ISPIN": 2}, spread)[0]
    assert "set ISPIN = 2" in conflicts(tags, RUTILE)[0]


def test_electrons_hubbard_and_moments_of_the_material():
    tags = polaron_incar("md", RUTILE, sites=[25], NSW=1000)
    assert tags["NELECT"] == 96 * 12 + 192 * 6 + 1
    assert tags["MAGMOM"] == "25*0 1 262*0"
    assert (tags["LDAUL"], tags["LDAUU"], tags["LDAUJ"]) == ([2, -1], [3.9, 0.0], [0.0, 0.0])
    assert tags["NSW"] == 1000 and tags["IBRION"] == 0
    assert polaron_incar("static", MGO)["NELECT"] == 32 * 14 - 1
    f_shell = PolaronCell(["Ce", "O"], [4, 8], [12, 6], hubbard={"Ce": (3, 4.5, 0.0)})
    assert polaron_incar("static", f_shell)["LMAXMIX"] == 6


def test_only_the_constrained_stage_imposes_occupations():
    assert [stage for stage in STAGES if "OCCEXT" in defaults(stage)] == ["omc"]


def test_the_text_is_an_incar_with_reasons():
    tags = polaron_incar("md", RUTILE, sites=[0], NSW=20)
    text = incar_text(tags, "md")
    back = Incar.from_str(text)
    for tag in ("ISPIN", "NELECT", "LORBIT", "NWRITE", "LDAUL", "LDAUU", "NSW", "EDIFF", "LASPH", "LWAVE"):
        assert back[tag] == tags[tag], tag
    assert back["MAGMOM"] == [1.0] + [0.0] * 287
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert "! the carrier is found by its spin" in lines["ISPIN"]
    assert "!" not in lines["NSW"]  # changed by hand: the reason of the default is not its reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ISPIN": 1}, "ISPIN = 1.*set ISPIN = 2"),
        ({"LORBIT": 0}, "LORBIT = 0.*set LORBIT = 11"),
        ({"NWRITE": 0}, "NWRITE = 0.*set NWRITE = 2"),
        ({"ISYM": 2}, "ISYM = 2.*set ISYM = 0"),
        ({"NELECT": 2304.0}, "NELECT = 2304: leaves no carrier; set NELECT = 2305"),
        ({"NELECT": 2303.0}, "NELECT = 2303: -1 electrons.*need NELECT = 2305"),
        ({"NELECT": 2306.0}, "NELECT = 2306.*need NELECT = 2305"),
        ({"NUPDOWN": 0}, "NUPDOWN = 0"),
        ({"NUPDOWN": 2}, "NUPDOWN = 2: impossible with 1"),
        ({"MAGMOM": "25*0 1 70*0"}, "MAGMOM has 96 values for 288 atoms"),
        ({"MAGMOM": [0.0] * 287}, "MAGMOM has 287 values"),
        ({"LDAUPRINT": 0}, "LDAUPRINT = 0.*set LDAUPRINT = 2"),
        ({"LMAXMIX": 2}, "LMAXMIX = 2.*set LMAXMIX = 4"),
        ({"LDAUU": [3.9]}, "LDAUU has 1 values for the blocks Ti O"),
        ({"LDAUL": "2 -1 -1"}, "LDAUL has 3 values"),
        ({"OCCEXT": 1, "OCCDIR1": "1 17 2 1 5 5 1 1.0", "IBRION": 2}, "OCCEXT = 1 with OCCDIR1"),
        ({"OCCEXT": 1, "LDAU": False, "IBRION": 2}, "OCCEXT = 1 without LDAU"),
        ({"OCCEXT": 1}, "OCCEXT = 1 with IBRION = 0"),
        ({"LSORBIT": True}, "LSORBIT"),
        ({"NBLOCK": 10}, "NBLOCK = 10"),
        ({"LORBIT": None}, "LORBIT = 0.*set LORBIT = 11"),
        ({"LORBIT": "5"}, "LORBIT = 5.*set LORBIT = 11"),
        ({"ISPIN": "two"}, "ISPIN = 'two': give one whole number"),
        ({"NELECT": "2304."}, "NELECT = 2304: leaves no carrier"),
        ({"NELECT": [2305.0]}, r"NELECT = \[2305.0\]: give one number"),
    ],
)
def test_every_conflict_is_named_with_its_remedy(change, message):
    tags = polaron_incar("md", RUTILE, sites=[25]) | change
    assert len(conflicts(tags, RUTILE)) == 1
    with pytest.raises(VaspError, match=message):
        polaron_incar("md", RUTILE, **change)
    lower = {tag.lower(): value for tag, value in tags.items()}
    assert conflicts(lower, RUTILE) == conflicts(tags, RUTILE)


def test_numbers_may_be_written_as_text_and_a_magmom_that_is_none_is_named():
    tags = polaron_incar("md", RUTILE) | {"ISPIN": "2", "LORBIT": "11", "NELECT": "2305.0", "ISYM": "-1"}
    assert conflicts(tags, RUTILE) == []
    (message,) = conflicts(tags | {"MAGMOM": "288*zero"}, RUTILE)
    assert "MAGMOM" in message and "zero" in message


def test_an_absent_nelect_is_the_neutral_cell():
    tags = polaron_incar("static", RUTILE)
    del tags["NELECT"]
    assert conflicts(tags, RUTILE) == [
        "NELECT is absent (2304, the neutral cell): leaves no carrier; set NELECT = 2305 for 1 electron(s)"
    ]
    # a dopant brings its electron along
    doped = PolaronCell(["Ti", "O", "F"], [96, 191, 1], [12, 6, 7], closed_shell=2304)
    assert conflicts(tags | {"LDAUL": [2, -1, -1], "LDAUU": [3.9, 0, 0], "LDAUJ": [0, 0, 0]}, doped) == []


def test_occupations_need_a_shell_on_their_species():
    tags = polaron_incar("omc", RUTILE)
    assert conflicts(tags, RUTILE, occ_atoms=[0, 95]) == []
    (message,) = conflicts(tags, RUTILE, occ_atoms=[96])
    assert "atom 97 (O), LDAUL = -1" in message
    (message,) = conflicts(tags, RUTILE, occ_atoms=[288])
    assert "atom 289 of a cell with 288" in message


def test_descriptions_that_cannot_be_are_refused():
    with pytest.raises(VaspError, match="one value per block"):
        PolaronCell(["Ti", "O"], [96], [12, 6])
    with pytest.raises(VaspError, match=r"hubbard names 'V'.*Ti, O"):
        PolaronCell(["Ti", "O"], [96, 192], [12, 6], hubbard={"V": (2, 3.0, 0.0)})
    with pytest.raises(VaspError, match="carrier = 'exciton'"):
        PolaronCell(["Ti"], [2], [12], carrier="exciton")
    with pytest.raises(VaspError, match="omc, relax, delocalised, static, md"):
        defaults("relaxation")
