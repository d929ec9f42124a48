"""Protocols: one YAML per WorkChain (`fast`, `balanced`, `stringent`) and one per material, merged into plain mappings.

A protocol file has `default_inputs`, `default_protocol` and `protocols`, as in aiida-quantumespresso. A value
given in `overrides` must have a place in the defaults: an unknown key is refused and the nearest known one is
named. Sections whose keys are not ours to list (INCAR tags, per-species mappings) are written `{}` or hold species or
tags, and are named in `OPEN`; scheduler options and resources have AiiDA's keys.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from copy import deepcopy
from functools import cache
from pathlib import Path

from leopold_model.config import ConfigError, parse, read_yaml
from leopold_workflows.protocols.material import Material

FOLDER = Path(__file__).parent
# sections in which any key is allowed here (`parameters` and `retraining` are held against their schema at launch)
OPEN = (
    "parameters", "retraining", "incar", "options", "resources", "hubbard", "formal_charges", "potentials", "basis",
    "counts", "orbitals",
)  # fmt: skip


class ProtocolError(ValueError):
    """A protocol, material or override that does not exist; the message names it and the nearest that does."""


def protocol(name: str, level: str | None = None, overrides: dict | None = None) -> dict:
    """Inputs of the protocol `name` at `level` (None: its default level), with `overrides` merged in."""
    data = _read(FOLDER / f"{name}.yaml", f"protocol {name}")
    level = level or data["default_protocol"]
    if level not in data["protocols"]:
        raise ProtocolError(f"protocol {level!r} of {name}: {_nearest(level, data['protocols'])}")
    inputs = merge(data["default_inputs"], data["protocols"][level] or {}, f"{name}.{level}")
    return merge(inputs, overrides or {}, f"overrides of {name}")


def material(name: str, overrides: dict | None = None) -> dict:
    """The material `name`, one of those here or a YAML file like them, whole: see `material.Material` for its keys."""
    own = name.endswith((".yaml", ".yml"))
    data = _read(Path(name) if own else FOLDER / "materials" / f"{name}.yaml", f"material {name}")
    where = name if own else f"material {name}"
    changed = merge(parse(data, Material, where).model_dump(), overrides or {}, f"overrides of material {name}")
    return parse(changed, Material, where).model_dump()


def merge(base: dict, changes: dict, where: str) -> dict:
    """`base` with `changes` laid over it, recursively; a key of `changes` that `base` has not is refused."""
    if not isinstance(changes, dict):
        raise ProtocolError(f"{where}: expected a mapping, got {changes!r}")
    merged = deepcopy(base)
    sections = where.split(".")
    known = _of_aiida(sections[-1]) or (merged.keys() if not set(sections) & set(OPEN) else ())
    for key, value in changes.items():
        if known and key not in known:
            raise ProtocolError(f"{where}: unknown key {key!r}: {_nearest(key, known)}")
        nested = isinstance(merged.get(key), dict) and value is not None
        merged[key] = merge(merged[key], value, f"{where}.{key}") if nested else deepcopy(value)
    return merged


@cache
def _of_aiida(section: str) -> Collection[str]:
    """The keys of a section that is AiiDA's: options of a job, or resources of any scheduler it knows."""
    if section not in ("options", "resources"):
        return ()
    # the demo reads its material before it chooses a profile, and AiiDA its folder as soon as it is imported
    from aiida.engine import CalcJob
    from aiida.plugins import SchedulerFactory
    from aiida.plugins.entry_point import get_entry_point_names

    if section == "options":
        return set(CalcJob.spec().inputs["metadata"]["options"])
    schedulers = map(SchedulerFactory, get_entry_point_names("aiida.schedulers"))
    return {key for scheduler in schedulers for key in scheduler.job_resource_class.get_valid_keys()}


def _read(path: Path, what: str) -> dict:
    if not path.is_file():
        names = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ProtocolError(f"no {what}: {_nearest(path.stem, names)}")
    try:
        return read_yaml(path.read_bytes(), str(path))
    except ConfigError as error:
        raise ProtocolError(str(error)) from None


def _nearest(key, names) -> str:
    names = [str(name) for name in names]
    near = difflib.get_close_matches(str(key), names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
