"""How long the code location takes to import, and ``dagster dev`` to answer for the assets."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.homes import environment, temporary_home
from benchmarks.processes import ended
from benchmarks.progress import counted
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import RetailError
from retail_platform.settings import PROJECT_ROOT, Settings

_LIMIT_SECONDS = 180.0
_LOOK_SECONDS = 0.1
_QUERY = json.dumps({"query": "{ assetNodes { assetKey { path } } }"})


def measure(runs: int = 5) -> dict[str, Any]:
    """Import ``runs`` times in new processes (bytecode warm), then start ``dagster dev`` as often.

    No broker answers, so no sensor starts a stream. Figures: import_seconds and dev_seconds, each a list, with medians.
    """
    with temporary_home() as settings:
        _import_seconds(settings)
        with counted("import retail_platform.definitions", runs) as told:
            imports = []
            for number in range(runs):
                imports.append(_import_seconds(settings))
                told(number + 1)
        with counted("dagster dev until the assets answer", runs) as told:
            starts = []
            for number in range(runs):
                starts.append(_dev_seconds(settings))
                told(number + 1)
    return {
        "parameters": {"runs": runs},
        "figures": {
            "import_seconds": imports,
            "import_median": statistics.median(imports),
            "dev_seconds": starts,
            "dev_median": statistics.median(starts),
        },
    }


def _import_seconds(settings: Settings) -> float:
    command = [sys.executable, "-c", "import retail_platform.definitions"]
    began = time.monotonic()
    subprocess.run(command, cwd=PROJECT_ROOT, env=environment(settings), check=True, capture_output=True)
    return round(time.monotonic() - began, 2)


def _dev_seconds(settings: Settings) -> float:
    from retail_platform.defs.execution import prepare_dagster_home  # noqa: PLC0415  it imports Dagster

    prepare_dagster_home(settings)
    port = free_port_pair()
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(PROJECT_ROOT / "workspace.yaml")]
    command += ["-h", "127.0.0.1", "-p", str(port), "--log-level", "warning"]
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        env=environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with ended(process):
        while not _assets_answer(port):
            if process.poll() is not None or time.monotonic() - began > _LIMIT_SECONDS:
                raise RetailError(f"`dagster dev` did not answer on port {port}; try `retail dev` to see why")
            time.sleep(_LOOK_SECONDS)
        return round(time.monotonic() - began, 2)


def _assets_answer(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/graphql", _QUERY, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return bool((answer.get("data") or {}).get("assetNodes"))
