"""`BarrierCalculation` (`leopold.barrier.learned`): energies and moments along one hop on a learned surface."""

from __future__ import annotations

from aiida import orm

from leopold_model.frames import Frame, write_frames
from leopold_workflows.calculations.job import RESULT, LeopoldCalculation, unseen_species
from leopold_workflows.data.model import ModelData

ENDS = "ends.h5"


class BarrierCalculation(LeopoldCalculation):
    """Run `leopold barrier`: both told states along the straight line of a hop, and the minimum-energy path.

    With `final` the line goes from `initial` to it, as they are; without, both ends are what the model relaxes to. The
    minimum-energy path always begins and ends at rest.
    """

    VERB = "barrier"

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.inputs["metadata"]["options"]["parser_name"].default = "leopold.barrier.learned"
        spec.input("model", valid_type=ModelData, help="The model, of one carrier.")
        spec.input("initial", valid_type=orm.StructureData, help="Supercell with the carrier on the first of `sites`.")
        spec.input(
            "final", valid_type=orm.StructureData, required=False, help="The same supercell, carrier on the second."
        )
        spec.input("sites", valid_type=orm.List, validator=check_sites, help="The two atoms, from 0.")
        spec.input(
            "images", valid_type=orm.Int, default=lambda: orm.Int(13), validator=check_images, help="Of each path."
        )
        spec.input(
            "fmax",
            valid_type=orm.Float,
            default=lambda: orm.Float(0.01),
            validator=check_positive,
            help="Largest force at the end of every search, eV/Angstrom.",
        )
        spec.input(
            "steps",
            valid_type=orm.Int,
            default=lambda: orm.Int(300),
            validator=check_positive,
            help="Most of every search.",
        )
        spec.inputs.validator = validate_inputs
        # a fact about the model, true of any repetition: it may be cached
        spec.exit_code(520, "ERROR_NO_BARRIER", message="{why}")

    def prepare_for_submission(self, folder):
        sites, carrier = self.inputs.sites.get_list(), self.inputs.model.header["carrier"]
        ends = [self.inputs[name].get_ase() for name in ("initial", "final") if name in self.inputs]
        frames = [
            Frame(a.numbers, a.positions, a.cell.array, pbc=a.pbc, carrier=carrier, carrier_sites=(site,))
            for a, site in zip(ends, sites, strict=False)
        ]
        write_frames(folder.get_abs_path(ENDS), frames)
        arguments = ["model.leopold", ENDS, "--from", str(sites[0]), "--to", str(sites[1])]
        arguments += ["--ends"] if "final" in self.inputs else []
        for name in ("images", "fmax", "steps"):
            arguments += [f"--{name}", str(self.inputs[name].value)]
        return self._calcinfo([*arguments, "--json"], {"model.leopold": self.inputs.model}, [RESULT], stdout=RESULT)


def check_sites(node: orm.List | None, _=None) -> str | None:
    """Two different atoms."""
    if node is None:
        return None
    sites = node.get_list()
    if len(sites) != 2 or not all(isinstance(site, int) and site >= 0 for site in sites) or sites[0] == sites[1]:
        return f"sites = {sites}: give two different atoms, from 0: where the hop begins and where it ends"
    return None


def check_images(node: orm.Int | None, _=None) -> str | None:
    """At least three."""
    if node is not None and node.value < 3:
        return f"images = {node.value}: give at least 3, ends included"
    return None


def check_positive(node, port=None) -> str | None:
    """Larger than zero."""
    if node is not None and not node.value > 0:
        return f"{getattr(port, 'name', 'value')} = {node.value}: must be positive"
    return None


def hop_faults(structure: orm.StructureData, sites: list[int], model: ModelData | None = None) -> str | None:
    """Why there is no hop between `sites` of `structure` (or none for `model`); None when there is one."""
    n = len(structure.sites)
    for site in sites:
        if site >= n:
            return f"sites = {sites}: the structure has atoms 0 to {n - 1}"
    kinds = [structure.sites[site].kind_name for site in sites]
    if kinds[0] != kinds[1]:
        return f"sites = {sites}: {kinds[0]} and {kinds[1]}; a carrier hops between atoms of one element"
    if model is None:
        return None
    carriers = model.header.get("n_carriers", 1)
    if carriers != 1:
        return f"model of {carriers} carriers: the barrier of a hop is that of one; use a model of one"
    return unseen_species(model, structure.get_symbols_set())


def same_atoms(name: str, structure: orm.StructureData, other: orm.StructureData) -> str | None:
    """Why `structure`, the input `name`, is not `other` with its atoms moved; None if it is."""
    a, b = structure.get_ase(), other.get_ase()
    if a.get_chemical_symbols() != b.get_chemical_symbols() or abs(a.cell.array - b.cell.array).max() > 1e-4:
        return f"{name}: other atoms, another order or another cell than the host; give the same supercell"
    return None


def validate_inputs(inputs, _) -> str | None:
    """Why these inputs cannot be used; None where they can."""
    if any(name not in inputs for name in ("initial", "sites", "model")):
        return None  # exposed elsewhere without them
    if "final" in inputs and (message := same_atoms("final", inputs["final"], inputs["initial"])):
        return message.replace("the host", "`initial`")
    return hop_faults(inputs["initial"], inputs["sites"].get_list(), inputs["model"])
