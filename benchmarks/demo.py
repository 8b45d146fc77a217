"""How long ``make demo`` takes on a fresh clone: with empty caches (it needs the network), then with full ones."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.homes import environment
from benchmarks.processes import watched
from benchmarks.progress import say
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import RetailError
from retail_platform.settings import PROJECT_ROOT, load_settings

_GIB = 1024**3


def measure() -> dict[str, Any]:
    """Clone the last commit twice, and run ``make demo`` in each; both share a user cache that is empty at first.

    Figures: cold and warm, each seconds and peak_gib (the highest sum of the resident memory of all its processes).
    """
    with tempfile.TemporaryDirectory(prefix="retail-bench-", ignore_cleanup_errors=True) as folder:
        figures = {name: _run(Path(folder), name) for name in ("cold", "warm")}
    return {"parameters": {"command": "make demo"}, "figures": figures}


def _run(folder: Path, name: str) -> dict[str, float]:
    clone = folder / name
    subprocess.run(["git", "clone", "--quiet", PROJECT_ROOT, clone], check=True)
    settings = load_settings(
        env_file=None,
        retail_home=clone / ".retail",
        retail_outputs=clone / "outputs",
        kafka_bootstrap_servers=None,
        kafka_embedded_port=free_port_pair(),
    )
    env = environment(settings) | {
        "KAFKA_BOOTSTRAP_SERVERS": "",
        "KAFKA_EMBEDDED_PORT": str(settings.kafka_embedded_port),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    say(f"{name}: make demo on a fresh clone …")
    began = time.monotonic()
    process = subprocess.Popen(["make", "demo"], cwd=clone, env=env, start_new_session=True)
    with watched(process) as tree:
        code = process.wait()
        seconds = time.monotonic() - began
    if code:
        raise RetailError(f"`make demo` ended with exit code {code} in a {name} clone")
    return {"seconds": round(seconds, 1), "peak_gib": round(tree.peak_bytes / _GIB, 2)}
