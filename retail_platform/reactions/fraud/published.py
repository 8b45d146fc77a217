"""The model in use, ``current.json`` of the models' folder, beside every model that was trained, ``<version>.json``.

A file and not a topic, as the segments' cut-offs: it is replaced whole by one rename, and a process of another machine needs
a folder that both see. An older model comes back by copying its file over ``current.json``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from retail_platform.durable import replace_text
from retail_platform.errors import RetailError
from retail_platform.reactions.fraud.model import Model, parsed

CURRENT = "current.json"

_log = logging.getLogger(__name__)


def read(path: Path) -> Model | None:
    """The model of a file; ``None`` where there is none.

    Raises:
        RetailError: the file is not a model that this code can score with.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RetailError(f"{path} cannot be read ({error}); put a model there, or remove it") from error
    try:
        return parsed(text)
    except RetailError as error:
        raise RetailError(
            f"{path} cannot be used: {error}; copy another model of its folder over it, or remove it"
        ) from error


def write(path: Path, model: Model) -> None:
    """Make the file this model's, whole and at once."""
    replace_text(path, model.text())


@dataclass
class Published:
    """The model in use, read again when the file is another."""

    folder: Path
    _stamp: tuple[int, int] | None = field(default=None, init=False)
    _known: Model | None = field(default=None, init=False)

    def model(self) -> Model | None:
        """The one that is published now; ``None`` before the first. Costs a look at the file's name, not at its content.

        A file that cannot be used is told once in the log, and the model known so far stays: the rules go on.
        """
        path = self.folder / CURRENT
        try:
            stat = path.stat()
        except FileNotFoundError:
            self._stamp = self._known = None
            return None
        if (stamp := (stat.st_ino, stat.st_mtime_ns)) != self._stamp:
            self._stamp = stamp
            try:
                self._known = read(path)
            except RetailError as error:
                in_use = self._known.version if self._known else "none"
                _log.error("%s; the model in use stays %s", error, in_use)
        return self._known
