"""The GraphQL API of Dagster's UI, as the UI asks it."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "retail-platform"}


class DagsterApi:
    """A webserver on this machine."""

    def __init__(self, port: int) -> None:
        self.port, self._url = port, f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data that a query or mutation answers with."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self._url, body, {"content-type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            answer: dict[str, Any] = json.loads(response.read())
        assert "errors" not in answer, answer["errors"]
        return answer["data"]  # type: ignore[no-any-return]

    def runs(self, job: str) -> list[tuple[str, str]]:
        """(run id, status) of a job's runs, newest first."""
        data = self.ask(
            "query($job: String!) {runsOrError(filter: {pipelineName: $job}) {... on Runs {results {runId status}}}}",
            job=job,
        )
        return [(run["runId"], run["status"]) for run in data["runsOrError"]["results"]]

    def stop_sensor(self, name: str) -> bool:
        """Turn a sensor off, as the switch in the UI does; ``False`` while the code location is not there."""
        query = (
            "query($s: RepositorySelector!) {sensorsOrError(repositorySelector: $s) "
            "{... on Sensors {results {id name}}}}"
        )
        found = self.ask(query, s=REPOSITORY)["sensorsOrError"].get("results", [])
        for sensor in found:
            if sensor["name"] == name:
                self.ask("mutation($id: String!) {stopSensor(id: $id) {__typename}}", id=sensor["id"])
                return True
        return False
