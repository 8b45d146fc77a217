"""``.env.example`` is the settings' own text, and using it as it stands changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from retail_platform.settings import PROJECT_ROOT, Settings, env_example, load_settings

EXAMPLE = PROJECT_ROOT / ".env.example"


def test_it_is_what_the_settings_say() -> None:
    write = (
        'python -c "from retail_platform.settings import env_example; print(env_example(), end=str())" > .env.example'
    )
    assert EXAMPLE.read_text(encoding="utf-8") == env_example(), f"write it again: {write}"


def test_its_values_are_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    uncommented = re.sub(r"^#([A-Z0-9_]+=)", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (tmp_path / ".env").write_text(uncommented, encoding="utf-8")
    assert len(re.findall(r"^[A-Z0-9_]+=", uncommented, re.MULTILINE)) == len(Settings.model_fields)
    assert load_settings(env_file=tmp_path / ".env") == load_settings(env_file=None)
