"""A stand-in for EMR Serverless that really runs its job runs, by the spark-submit that is here.

moto's says SUCCESS at once and runs nothing, so nothing could be heard from it. This one takes the three requests that the
platform makes, as botocore's model of the service writes them, and does with a job run what AWS's documentation says: fetches
entry point, jars and archives from S3, unpacks the archives into the driver's working folder, gives it ``driverEnv`` and the
role's credentials and nothing else, and starts spark-submit. What EMR's machines have beside that, it has: a Spark with S3A.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import tarfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from retail_platform.embedded.jars import class_path
from retail_platform.embedded.java import java_home
from retail_platform.lakehouse.location import aws_client
from retail_platform.settings import Settings

_DRIVER_ENV = "spark.emr-serverless.driverEnv."
RELEASE = "emr-of-a-test"


@dataclass
class JobRun:
    """One that was asked for: ``request`` as it came."""

    id: str
    request: dict[str, Any]
    folder: Path
    state: str = "SUBMITTED"
    cancelled: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the driver said."""
        return (self.folder / "driver.log").read_text(errors="replace") if self.folder.exists() else ""


@dataclass
class EmrServer:
    """The service; ``role`` is the environment that gives a machine its credentials; ``callers`` use the service."""

    settings: Settings
    folder: Path
    role: dict[str, str]
    runs: dict[str, JobRun] = field(default_factory=dict)
    callers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Answer on a free port of this machine."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(service.submit(self.path.split("/")[2], body))

            def do_GET(self) -> None:
                run = service.runs[self.path.split("/")[4]]
                self._answer({"jobRun": service.described(run, self.path.split("/")[2])})

            def do_DELETE(self) -> None:
                run = service.runs[self.path.split("/")[4].partition("?")[0]]
                service.cancel(run)
                self._answer({"applicationId": self.path.split("/")[2], "jobRunId": run.id})

            def _answer(self, body: dict[str, Any]) -> None:
                raw = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        """End the service, and all that it has started or that still waits for it."""
        for caller in self.callers:
            caller.kill()
            caller.wait()
        self._server.shutdown()
        for run in self.runs.values():
            if run.process is not None and run.process.poll() is None:
                os.killpg(run.process.pid, signal.SIGKILL)
                run.process.wait()

    def submit(self, application: str, request: dict[str, Any]) -> dict[str, Any]:
        run = JobRun(uuid.uuid4().hex[:16], request, self.folder / f"run-{len(self.runs)}")
        self.runs[run.id] = run
        threading.Thread(target=self._run, args=(run,), daemon=True).start()
        return {"applicationId": application, "jobRunId": run.id, "arn": f"arn:aws:emr-serverless:::{run.id}"}

    def cancel(self, run: JobRun) -> None:
        run.cancelled = True
        if run.process is not None and run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGTERM)

    def described(self, run: JobRun, application: str) -> dict[str, Any]:
        now = time.time()
        return {
            "applicationId": application,
            "jobRunId": run.id,
            "arn": f"arn:aws:emr-serverless:::{run.id}",
            "createdBy": "arn:aws:iam::111122223333:role/code",
            "createdAt": now,
            "updatedAt": now,
            "executionRole": run.request["executionRoleArn"],
            "state": run.state,
            "stateDetails": run.log[-200:] if run.state == "FAILED" else "",
            "releaseLabel": RELEASE,
            "jobDriver": run.request["jobDriver"],
        }

    def _run(self, run: JobRun) -> None:
        run.folder.mkdir(parents=True)
        command, environment = self._prepared(run)
        with (run.folder / "driver.log").open("wb") as log:
            run.process = subprocess.Popen(
                command, cwd=run.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        run.state = "RUNNING"
        code = run.process.wait()
        run.state = "CANCELLED" if run.cancelled else "SUCCESS" if code == 0 else "FAILED"

    def _prepared(self, run: JobRun) -> tuple[list[str], dict[str, str]]:
        import pyspark

        submit = run.request["jobDriver"]["sparkSubmit"]
        words = shlex.split(submit["sparkSubmitParameters"])
        assert words[0::2] == ["--conf"] * (len(words) // 2)
        chosen = dict(word.split("=", 1) for word in words[1::2])
        own = {name.removeprefix(_DRIVER_ENV): value for name, value in chosen.items() if name.startswith(_DRIVER_ENV)}
        for archive in chosen.pop("spark.archives").split(","):
            address, _, name = archive.partition("#")
            with tarfile.open(self._fetched(address, run.folder)) as content:
                content.extractall(run.folder / name, filter="tar")
        chosen["spark.jars"] = ",".join(
            str(self._fetched(each, run.folder)) for each in chosen["spark.jars"].split(",")
        )
        defaults = run.folder / "conf"
        defaults.mkdir()
        (defaults / "spark-defaults.conf").write_text(
            f"spark.driver.extraClassPath {class_path('s3')}\n"
            "spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC\n"
            "spark.driver.host 127.0.0.1\nspark.driver.bindAddress 127.0.0.1\n"
        )
        home = Path(pyspark.__file__).parent
        command = [str(home / "bin" / "spark-submit"), "--master", "local[2]"]
        for name, value in chosen.items():
            if not name.startswith(_DRIVER_ENV):
                command += ["--conf", f"{name}={value}"]
        command += [str(self._fetched(submit["entryPoint"], run.folder)), *submit["entryPointArguments"]]
        machine = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(run.folder),
            "JAVA_HOME": str(java_home()),
            "SPARK_HOME": str(home),
            "SPARK_CONF_DIR": str(defaults),
            "SPARK_LOCAL_IP": "127.0.0.1",
        }
        return command, machine | self.role | own

    def _fetched(self, address: str, folder: Path) -> Path:
        bucket, _, key = address.removeprefix("s3://").partition("/")
        target = folder / Path(key).name
        aws_client(self.settings, "s3").download_file(bucket, key, str(target))
        return target
