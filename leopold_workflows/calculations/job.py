"""What every `leopold ...` job has in common: a recorded package version, a result file, exit codes; and what the long
ones have: a YAML file and a checkpoint."""

from __future__ import annotations

import yaml
from aiida import orm
from aiida.common import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob

from leopold_model import __version__
from leopold_model.config import ConfigError, parse

RESULT = "result.json"
STDOUT, STDERR = "leopold.out", "leopold.err"
OUTPUT_MISSING = 310  # exit status of every job that left nothing
OUT_OF_WALLTIME = 410  # and of every one that can be continued


class LeopoldCalculation(CalcJob):
    """Base of the jobs that call `leopold VERB ...`; a subclass names its verb and its files.

    `prepare_for_submission` only writes and copies files, so the same folder can be run again by hand.
    """

    VERB = ""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input(
            "version",
            valid_type=orm.Str,
            default=lambda: orm.Str(__version__),
            help="Version of leopold_model. An input, so that a new version never reuses results of an older one.",
        )
        spec.inputs["metadata"]["options"]["parser_name"].default = f"leopold.{cls.VERB}"
        spec.inputs["metadata"]["options"]["resources"].default = {"num_machines": 1, "num_mpiprocs_per_machine": 1}
        spec.inputs["metadata"]["options"]["withmpi"].default = False
        spec.inputs["metadata"]["options"]["output_filename"].default = STDOUT
        spec.output("results", valid_type=orm.Dict, help=f"`{RESULT}` of the job.")
        spec.default_output_node = "results"
        # what left no result, or an incomplete one, must run again when the same inputs come back
        spec.exit_code(
            OUTPUT_MISSING,
            "ERROR_OUTPUT_MISSING",
            message="The job left no {name}: see {stderr}.",
            invalidates_cache=True,
        )
        spec.exit_code(
            311, "ERROR_RESULT_UNREADABLE", message="{name} cannot be used: {reason}", invalidates_cache=True
        )

    def _calcinfo(self, arguments: list[str], copies: dict, retrieve: list[str], stdout: str = STDOUT) -> CalcInfo:
        """`copies` maps a name in the job's folder to the one-file node whose content goes there."""
        code = CodeInfo()
        code.code_uuid = self.inputs.code.uuid
        code.cmdline_params = [*self.VERB.split("."), *arguments]
        code.stdout_name, code.stderr_name = stdout, STDERR
        calcinfo = CalcInfo()
        calcinfo.codes_info = [code]
        calcinfo.local_copy_list = [(node.uuid, node.filename, name) for name, node in copies.items()]
        calcinfo.remote_copy_list = []
        calcinfo.retrieve_list = [*retrieve, STDERR, *([stdout] if stdout not in retrieve else [])]
        return calcinfo


class ResumableCalculation(LeopoldCalculation):
    """Base of the long jobs: their `parameters` are keys of a schema, and out of walltime they leave a checkpoint."""

    SCHEMA: type | None = None
    # keys of the schema that the ports decide, not the user
    MANAGED: tuple[str, ...] = ()
    # some of the others, to begin with
    KEYS = ""
    # files of the checkpoint
    CHECKPOINT: tuple[str, ...] = ()

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input(
            "parameters",
            valid_type=orm.Dict,
            validator=cls.check_parameters,
            help=f"Keys of the `{cls.VERB}` schema: {cls.KEYS} ...",
        )
        spec.input(
            "restart_folder",
            valid_type=orm.RemoteData,
            required=False,
            help="Remote folder of a job that left a checkpoint: continued from there.",
        )
        spec.exit_code(
            OUT_OF_WALLTIME,
            "ERROR_OUT_OF_WALLTIME",
            message="The walltime ran out; a checkpoint lies in the remote folder.",
            invalidates_cache=True,
        )

    @classmethod
    def check_parameters(cls, node: orm.Dict | None, port=None) -> str | None:
        """Validator of a port of such parameters: the schema's own messages, and no key that the ports set."""
        if node is None:
            return None
        data, name = node.get_dict(), getattr(port, "name", "parameters")
        taken = sorted(set(data) & set(cls.MANAGED))
        if taken:
            return f"{taken[0]!r} is set by the ports of leopold.{cls.VERB}: remove it from `{name}`"
        try:
            parse(data, cls.SCHEMA, where=f"{name} of leopold.{cls.VERB}")
        except ConfigError as error:
            return str(error)
        return None

    @property
    def _seconds(self) -> float | None:
        """What the job may take; a tenth of its walltime is left for the start, the checkpoint and the end."""
        walltime = self.inputs.metadata.options.get("max_wallclock_seconds", None)
        return 0.9 * walltime if walltime else None

    def _write_config(self, folder: Folder, **files) -> str:
        """Write the YAML of the verb: the user's parameters and the file names the ports stand for."""
        config = {"kind": self.VERB, **self.inputs.parameters.get_dict(), **files}
        if self._seconds:
            config["max_wall_seconds"] = self._seconds
        name = f"{self.VERB}.yaml"
        with folder.open(name, "w", encoding="utf8") as handle:
            yaml.safe_dump(config, handle, sort_keys=True)
        return name

    def _calcinfo(self, *arguments, **keywords) -> CalcInfo:
        """As every job's, with the checkpoint of the job that is continued."""
        calcinfo = super()._calcinfo(*arguments, **keywords)
        if "restart_folder" in self.inputs:
            folder = self.inputs.restart_folder
            path = folder.get_remote_path()
            calcinfo.remote_copy_list = [(folder.computer.uuid, f"{path}/{name}", name) for name in self.CHECKPOINT]
        return calcinfo


def species_message(model, frames) -> str | None:
    """Why `frames` cannot go with `model`, or None when every species is known to it."""
    return unseen_species(model, frames.base.attributes.get("elements"), "of the frames ")


def unseen_species(model, elements, whose: str = "") -> str | None:
    """Why `model` cannot serve atoms of these `elements`; None if it was trained on all."""
    unseen = sorted(set(elements) - set(model.elements))
    if unseen:
        return (
            f"species {', '.join(unseen)} {whose}are not in the model, which was trained on "
            f"{', '.join(model.elements)}: train with frames that hold every species"
        )
    return None
