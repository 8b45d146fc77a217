"""Terraform as the tests run it: without the user's configuration, and with the provider that this machine has, if any."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from retail_platform_tests.deploy.aws_schema import AWS

needs_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="no terraform is installed here")


def terraform(*arguments: str, folder: Path = AWS, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run it in ``folder`` with ``settings`` in its environment; what it says is not coloured."""
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "CHECKPOINT_DISABLE": "1", **settings}
    program = shutil.which("terraform") or "terraform"
    command = [program, *arguments, "-no-color"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def plugins() -> Path | None:
    """A folder with the AWS provider: ``TERRAFORM_PLUGINS``; or what `make terraform` fetched, or one of Terraform's own."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    places = [
        AWS / ".terraform" / "providers",
        Path.home() / ".terraform.d" / "plugins",
        data / "terraform" / "plugins",
    ]
    places += [Path("/usr/local/share/terraform/plugins"), Path("/usr/share/terraform/plugins")]
    named = os.environ.get("TERRAFORM_PLUGINS")
    return next((place for place in ([Path(named)] if named else places) if any(place.glob("*/hashicorp/aws"))), None)


def initialized(folder: Path) -> Path:
    """A copy of ``deploy/aws`` below ``folder``, ready for ``validate``, ``test`` and ``plan``, without a place for the state.

    The test is skipped where no provider is.
    """
    place = plugins()
    if place is None:
        pytest.skip(
            "no AWS provider is here: `make terraform` fetches it, or TERRAFORM_PLUGINS names the folder that has it"
        )
    copy = shutil.copytree(AWS, folder / "aws", ignore=shutil.ignore_patterns(".terraform*", "*.tfvars"))
    done = terraform("init", "-backend=false", f"-plugin-dir={place}", folder=copy)
    assert done.returncode == 0, done.stderr
    return copy
