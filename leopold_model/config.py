"""Schemas of every YAML file `leopold` reads. An unknown key is refused and the nearest valid name is given."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from pathlib import Path, PurePath
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key, the value and the remedy."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def _inside(name: str) -> str:
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError("give a name in the folder of the configuration: nothing is written elsewhere")
    return name


_Output = Annotated[str, AfterValidator(_inside)]


class NetworkConfig(_Section):
    """Architecture: the `default` variant (O(3) parity, smooth cut-off), or that of the `published` LEOPOLD models."""

    variant: Literal["default", "published"] = "default"
    cutoff: float = Field(5.0, gt=0, description="Angstrom")
    layers: int = Field(3, ge=1)
    scalars: int = Field(32, ge=1, description="channels of 0e per hidden layer")
    vectors: int = Field(8, ge=1, description="channels of 1o per hidden layer")
    n_radial: int = Field(8, ge=1, description="Bessel functions")
    radial_hidden: tuple[int, ...] = Field(
        (), description="hidden widths of the radial network; none: linear in the basis"
    )
    head_hidden: int = Field(32, ge=1)
    ensemble: int = Field(1, ge=1, description="readout heads of a shallow ensemble")
    committee: int = Field(1, ge=1, description="networks trained side by side from different random parameters")

    @model_validator(mode="after")
    def _of_the_variant(self):
        stray = {"head_hidden", "ensemble", "committee"} & self.model_fields_set
        if self.variant == "published" and stray:
            raise ValueError(
                f"the published variant is one network of linear heads: leave out {', '.join(sorted(stray))}"
            )
        return self


class LossWeights(_Section):
    """Weight of each term of the loss; every term is per atom, residuals in eV, eV/Angstrom, e."""

    energy: float = Field(1.0, ge=0)
    forces: float = Field(1.0, ge=0)
    stress: float = Field(0.0, ge=0)
    occupations: float = Field(1.0, ge=0)
    moments: float = Field(1.0, ge=0)
    total_moment: float = Field(0.01, ge=0)
    hop_frames: float = Field(1.0, gt=0, description="factor on frames taken from hops")


class CrossingConfig(_Section):
    """Frames near a crossing that are learned with both charge states (see `crossings`)."""

    lag: int = Field(12, ge=0, description="steps after a move of the carrier that are also told its old site")
    sharing: float = Field(0.5, gt=0, description="moment of the second site over the first: told either of them")
    surface: float = Field(0.1, ge=0, description="factor on energy, forces and stress of the frames told otherwise")


class TrainConfig(_Section):
    """`leopold train CONFIG`: frames in, model out."""

    kind: Literal["train"] = "train"
    frames: str = Field("frames.h5", description="training frames")
    validation: str | None = Field(None, description="validation frames; None: split the last fraction of every run")
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    test: str | None = Field(None, description="a held-out run, evaluated once at the end")
    initial_model: str | None = Field(None, description="model to start from")
    output: _Output = "model.leopold"
    network: NetworkConfig = NetworkConfig()
    loss: LossWeights = LossWeights()
    crossings: CrossingConfig = CrossingConfig()
    epochs: int = Field(200, ge=1)
    batch_size: int = Field(2, ge=1)
    optimiser: Literal["adamw", "muon"] = "muon"
    learning_rate: float = Field(0.02, gt=0)
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    ema_decay: float = Field(0.995, ge=0, lt=1)
    clip_norm: float = Field(10.0, gt=0)
    patience: int | None = Field(None, description="epochs without improvement before stopping")
    seed: int = Field(0, ge=0)
    dtype: Literal["float32", "float64"] = "float32"
    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="refused when it is not there; auto: jax's choice"
    )
    max_wall_seconds: float | None = Field(None, gt=0, description="checkpoint and stop with exit code 10 before this")
    checkpoint_every: int = Field(20, ge=1, description="epochs")


class GuardConfig(_Section):
    """Limits beyond which dynamics stops with a typed status and keeps its last good block."""

    max_temperature_factor: float = Field(4.0, gt=1, description="instantaneous over target temperature")
    min_distance: float = Field(0.9, gt=0, description="Angstrom")
    min_approach: float = Field(
        0.6, ge=0, lt=1, description="of the shortest distance of that couple of species in the start frames"
    )
    max_force_spread: float | None = Field(
        1.0, gt=0, description="eV/Angstrom between the networks of a committee, of any atom, by component"
    )
    max_energy_spread: float | None = Field(None, gt=0, description="eV/atom between the members of an ensemble")
    max_moment_spread: float | None = Field(None, gt=0, description="mu_B between the members, of any atom")
    min_moment: float = Field(0.1, ge=0, description="largest moment below this for a block: carrier lost")


class WindowConfig(_Section):
    """Full-resolution structures kept around each candidate crossing."""

    half_width: float = Field(30.0, gt=0, description="fs before and after the change of charge state")
    stride: float = Field(5.0, gt=0, description="fs")
    max_windows: int = Field(200, ge=0, description="per trajectory; later ones are counted, not kept")


class MDConfig(_Section):
    """`leopold md CONFIG`: model and start structures in, per-step carrier track, hop windows and H5MD out."""

    kind: Literal["md"] = "md"
    model: str = "model.leopold"
    structures: str = Field("start.h5", description="start frames with carrier_sites; used cyclically over replicas")
    ensemble: Literal["nve", "langevin", "nose-hoover"] = "langevin"
    temperatures: tuple[Annotated[float, Field(gt=0)], ...] = Field((300.0,), min_length=1, description="K")
    replicas: int = Field(1, ge=1, description="per temperature")
    fixed: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="atoms held where the start frames have them, like the lowest layers of a slab"
    )
    timestep: float = Field(1.0, gt=0, description="fs")
    steps: int = Field(1000, ge=1, description="production steps per replica")
    more_steps: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="beyond `steps`, one number per temperature; grows from run to run, each going on from the last"
    )
    keep_checkpoint: bool = Field(False, description="after the last step, so that more_steps can be added later")
    equilibration: int = Field(0, ge=0, description="steps discarded before production")
    friction: float = Field(0.002, gt=0, description="1/fs, Langevin")
    thermostat_time: float = Field(100.0, gt=0, description="fs, Nose-Hoover")
    charge_update: Literal["hysteresis", "published"] = "hysteresis"
    hysteresis: float = Field(0.1, ge=0, lt=1, description="moment lead, relative, a site needs to take the carrier")
    missing_moment: float | None = Field(
        0.5,
        gt=0,
        le=1,
        description="with hysteresis: where the moments lack more than this share of one carrier's, "
        "the energies of the charge states say where it went; null: never",
    )
    stride: int = Field(50, ge=1, description="steps between stored frames")
    n_tracked: int = Field(6, ge=2, description="largest moments stored every step")
    window: WindowConfig = WindowConfig()
    guards: GuardConfig = GuardConfig()
    skin: float = Field(0.8, gt=0, description="Angstrom")
    block: int = Field(100, ge=1, description="steps between checks")
    seed: int = Field(0, ge=0)
    dtype: Literal["float32", "float64"] = "float32"
    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="refused when it is not there; auto: jax's choice"
    )
    trajectory: _Output = "trajectory.h5"
    track: _Output = "track.h5"
    max_wall_seconds: float | None = Field(None, gt=0)

    @field_validator("more_steps")
    @classmethod
    def _one_per_temperature(cls, value, info):
        temperatures = info.data.get("temperatures", ())
        if value and len(value) != len(temperatures):
            raise ValueError(f"give one number per temperature, {len(temperatures)} in all, or none")
        return value

    def total_steps(self, replica: int) -> int:
        """Steps of one replica, equilibration included."""
        more = self.more_steps[replica // self.replicas] if self.more_steps else 0
        return self.equilibration + self.steps + more


_MAX_NODES = 1_000_000  # of a YAML document: each alias counts as all it stands for
_DEEPEST = 50  # brackets in brackets


class _Loader(yaml.SafeLoader):
    """Yaml's own, which would take the square of the depth."""

    depth = 0

    def compose_node(self, parent, index):
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError(f"nested more than {_DEEPEST} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yaml(text: str | bytes, where: str) -> Any:
    """The content of a YAML document; ConfigError that begins with `where` if it is none, or unfolds without end."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _written_out(node, {}) > _MAX_NODES:
            raise ConfigError(f"{where}: its aliases unfold to more than {_MAX_NODES} values: write fewer")
        return loader.construct_document(node)
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # not all that it raises is a YAMLError: of a date like 2001-99-99
        raise ConfigError(f"{where} is not valid YAML: {error}") from None


def _written_out(node: yaml.Node, known: dict[yaml.Node, float]) -> float:
    """Values in a node with every alias written out; infinite for one that contains itself."""
    if node not in known:
        known[node] = math.inf
        children = [c for pair in node.value for c in pair] if isinstance(node, yaml.MappingNode) else node.value
        inside = children if isinstance(node, yaml.CollectionNode) else []
        known[node] = 1 + sum(_written_out(child, known) for child in inside)
    return known[node]


KINDS: dict[str, type[_Section]] = {"train": TrainConfig, "md": MDConfig}


def parse(data: dict, schema: type[_Section], where: str = "configuration"):
    """`data` as a validated `schema`; every fault in it is listed in one ConfigError."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected a mapping of keys to values, got {type(data).__name__}")
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{where}: {_explain(item, schema)}" for item in error.errors())) from None


def load(path: str | Path, kind: str | None = None, kinds: Mapping[str, type[_Section]] = KINDS):
    """Read a YAML file as the schema of `kinds` that is named by `kind` or by its own `kind` key."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"configuration file {str(path)!r} does not exist")
    data = read_yaml(path.read_bytes(), str(path)) or {}
    kind = str(kind or (data.get("kind") if isinstance(data, dict) else None))
    if kind not in kinds:
        raise ConfigError(f"{path}: kind = {kind!r}; add 'kind: ' followed by one of {', '.join(kinds)}")
    return parse(data, kinds[kind], where=str(path))


def _explain(item: Mapping[str, Any], schema: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in item["loc"] if part != "[key]")
    if item["type"] != "extra_forbidden":
        message = item["msg"].removeprefix("Value error, ")
        message = message[0].lower() + message[1:]
        return f"{key} = {item['input']!r}: {message}" if key else message
    owner: Any = schema
    for part in item["loc"][:-1]:
        # of a mapping of sections, its values
        owner = owner.model_fields[str(part)].annotation if _is_section(owner) else get_args(owner)[-1]
        if get_origin(owner) is UnionType:  # a section that may be left out
            owner = next(filter(_is_section, get_args(owner)))
    names = list(owner.model_fields)
    near = difflib.get_close_matches(str(item["loc"][-1]), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(names)}"
    return f"unknown key {key!r}: {hint}"


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
