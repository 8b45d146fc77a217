"""``deploy/aws`` by Terraform with the AWS provider, where one is; no account and no network."""

from __future__ import annotations

from pathlib import Path

import pytest

from retail_platform_tests.deploy.terraform import initialized, needs_terraform, terraform

pytestmark = needs_terraform


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return initialized(tmp_path_factory.mktemp("terraform"))


def test_it_is_valid(root: Path) -> None:
    done = terraform("validate", folder=root)
    assert done.returncode == 0, done.stdout + done.stderr
