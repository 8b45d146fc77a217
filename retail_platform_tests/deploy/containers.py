"""What ``docker/`` says, read as Docker would, so that tests run the very same commands without Docker."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retail_platform.settings import PROJECT_ROOT

DOCKER = PROJECT_ROOT / "docker"


def compose() -> dict[str, Any]:
    """``compose.yaml`` with its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile and the stage that it is of."""

    stage: str
    name: str
    text: str


def dockerfile() -> list[Instruction]:
    """The instructions of the Dockerfile, continued lines joined and comments left out."""
    lines = (DOCKER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    found, stage = [], ""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stage = rest.split()[-1]
        found.append(Instruction(stage, name, " ".join(rest.split())))
    return found


class Build:
    """Carries out the stages of the Dockerfile in ``root``, which stands for the image's ``/``.

    COPY and RUN do what they say, with absolute paths below ``/opt`` and ``/root`` moved into ``root``. FROM another stage
    copies nothing: all stages share the one ``root``.
    """

    def __init__(self, root: Path, uv: Path) -> None:
        self.root = root
        # Of the base image: a Python and no Java. uv comes by COPY --from another image.
        self.environment = {"PATH": f"{uv.parent}:/usr/bin:/bin", "HOME": str(root / "root"), "UV_OFFLINE": "1"}
        self.workdir = root

    def run(self, *stages: str, but: tuple[str, ...] = ()) -> None:
        """Carry out the instructions of these stages, in order, but RUN with one of these texts in it."""
        for step in dockerfile():
            if step.stage not in stages or any(text in step.text for text in but):
                continue
            if step.name == "ENV":
                for word in shlex.split(step.text):
                    name, _, value = word.partition("=")
                    self.environment[name] = self._here(value)
            elif step.name == "WORKDIR":
                self.workdir = Path(self._here(step.text))
                self.workdir.mkdir(parents=True, exist_ok=True)
            elif step.name == "COPY" and not step.text.startswith("--from"):
                self._copy(step.text.split())
            elif step.name == "RUN":
                command = re.sub(r"^(--mount=\S+ )+", "", step.text)
                done = subprocess.run(
                    ["/bin/sh", "-c", self._here(command)],
                    cwd=self.workdir,
                    env=self.environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{command}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"

    def _here(self, text: str) -> str:
        return re.sub(r"(?<![\w.])/(opt|root)\b", lambda found: f"{self.root}{found[0]}", text)

    def _copy(self, words: list[str]) -> None:
        *sources, target = words
        place = self.workdir / target
        for source in sources:
            origin = PROJECT_ROOT / source
            if origin.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "target", "logs")
                shutil.copytree(origin, place, ignore=ignored, dirs_exist_ok=True)
            else:
                into = place / origin.name if target.endswith("/") else place
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(origin, into)


def command_of(image_command: list[str], bin_dir: Path) -> list[str]:
    """The image's command with its program taken from ``bin_dir``."""
    program, *arguments = image_command
    return [str(bin_dir / program), *arguments]


def entrypoint() -> list[str]:
    """The image's ENTRYPOINT."""
    (found,) = [step for step in dockerfile() if step.name == "ENTRYPOINT"]
    words: list[str] = json.loads(found.text)
    return words


def base_environment() -> dict[str, str]:
    """This process's environment without what the platform reads: what a container begins with, and a PATH."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "XDG_CACHE_HOME") if name in os.environ}
