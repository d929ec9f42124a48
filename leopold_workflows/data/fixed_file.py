"""A node that is one file with a fixed name, described by attributes worth querying.

The bytes of the file depend on nothing but its content, so the hash AiiDA takes of the node is a hash of content and
caching recognises equal data whoever made them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from aiida import orm


class FixedFileData(orm.SinglefileData):
    """Base of the nodes that hold one file. A subclass sets `FILE` and tells its attributes from the file."""

    FILE = ""

    def set_file(self, file, filename=None):
        """Store `file` (a path or binary handle) under the class's fixed name and set the attributes read from it.

        `filename` is accepted for the signature's sake only: the name inside the node never varies.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.FILE
            if isinstance(file, str | Path):
                shutil.copyfile(file, path)
            else:
                path.write_bytes(file.read())
            attributes = self._attributes_of(path)
            super().set_file(path, filename=self.FILE)
        self.base.attributes.set_many(attributes)

    @classmethod
    def _attributes_of(cls, path: Path) -> dict:
        """Attributes of the file at `path`; raises ValueError when it is not a file of this kind."""
        raise NotImplementedError
