"""A stand-in for Kubernetes: an API server that knows pods, with RBAC, and a kubelet that really runs them.

The API server answers what Spark's client asks, and refuses what the rules of the caller's token do not allow. The kubelet is
a client of it like any other, so it serves a real API server as well. It runs a pod's container as a process of this machine:
by the image's own entry point, with the image's and the pod's environment and nothing else, and a loopback address of its own.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import json
import queue
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from retail_platform.settings import user_cache_dir
from retail_platform_tests.deploy.containers import command_of, entrypoint

Json = dict[str, Any]
EVERYTHING: list[Json] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update"}
_LOOK_SECONDS = 0.1
_BIN = Path(sys.executable).parent


@dataclass
class ApiServer:
    """The API server. ``rules`` of RBAC by bearer token; ``used`` is what each token has asked for."""

    rules: dict[str, list[Json]]
    pods: dict[tuple[str, str], Json] = field(default_factory=dict)
    used: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    bodies: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Answer on a free port of this machine."""
        self._lock = threading.RLock()
        self._version = 0
        self._watches: list[queue.SimpleQueue[tuple[str, Json]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                address = urlsplit(self.path)
                asked = {name: values[0] for name, values in parse_qs(address.query).items()}
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                code, answer = service.answer(self.command, address.path, asked, body, token)
                if isinstance(answer, dict):
                    self._say(code, answer)
                else:
                    self._watch(answer)

            do_GET = do_POST = do_PATCH = do_DELETE = _do  # noqa: N815  the names that the base class looks for

            def _say(self, code: int, answer: Json) -> None:
                raw = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def _watch(self, events: Iterator[Json]) -> None:
                """As frames of a WebSocket (RFC 6455), which Spark's client asks for first."""
                key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                self.send_response(101)
                self.send_header("Upgrade", "websocket")
                self.send_header("Connection", "Upgrade")
                accepted = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
                self.send_header("Sec-WebSocket-Accept", accepted)
                self.end_headers()
                self.close_connection = True
                with contextlib.suppress(OSError):
                    for event in events:
                        raw = json.dumps(event).encode()
                        size = len(raw)
                        long = b"\x7f" + size.to_bytes(8, "big") if size > 0xFFFF else b"\x7e" + size.to_bytes(2, "big")
                        self.wfile.write(b"\x81" + (bytes([size]) if size < 126 else long) + raw)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()

    def answer(self, method: str, path: str, asked: dict[str, str], body: str, token: str) -> tuple[int, Any]:
        found = re.fullmatch(r"/api/v1(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?(/status)?", path)
        if token not in self.rules:
            return _failure(401, "Unauthorized", "Unauthorized")
        if found is None:
            return _failure(404, "NotFound", f"the server could not find the requested resource: {path}")
        namespace, resource, name, below = found.groups()
        if method == "GET":
            verb = "get" if name else "watch" if asked.get("watch") == "true" else "list"
        elif method == "DELETE":
            verb = "delete" if name else "deletecollection"
        else:
            verb = _VERBS[method]
        resource += below or ""
        with self._lock:
            self.used.setdefault(token, set()).add((verb, resource))
            self.bodies.append(body)
            if not any(_allows(rule, verb, resource) for rule in self.rules[token]):
                said = f'{resource} is forbidden: cannot {verb} resource "{resource}" in the namespace "{namespace}"'
                self.refused.append(said)
                return _failure(403, "Forbidden", said)
            return self._done(verb, namespace, name, asked, json.loads(body) if body else {})

    def _done(self, verb: str, namespace: str | None, name: str | None, asked: dict[str, str], body: Json) -> Any:
        if verb == "create":
            return self._create(str(namespace), body)
        if name is not None:
            pod = self.pods.get((str(namespace), name))
            if pod is None:
                return _failure(404, "NotFound", f'pods "{name}" not found')
            if verb == "patch":
                _merge(pod, body)
                self._tell("MODIFIED", pod)
            elif verb == "delete":
                self._delete(pod)
            return 200, pod
        chosen = [
            pod for (place, _), pod in self.pods.items() if namespace in (None, place) and _is_selected(pod, asked)
        ]
        if verb == "watch":
            events: queue.SimpleQueue[tuple[str, Json]] = queue.SimpleQueue()
            for pod in chosen:
                events.put(("ADDED", json.loads(json.dumps(pod))))
            self._watches.append(events)
            return 200, _matching(events, asked)
        if verb == "deletecollection":
            for pod in chosen:
                self._delete(pod)
        return 200, {
            "kind": "PodList",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": str(self._version)},
            "items": chosen,
        }

    def _create(self, namespace: str, pod: Json) -> tuple[int, Json]:
        name = pod["metadata"]["name"]
        if (namespace, name) in self.pods:
            return _failure(409, "AlreadyExists", f'pods "{name}" already exists')
        pod["metadata"] |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": _now()}
        pod["status"] = {"phase": "Pending"}
        self.pods[namespace, name] = pod
        self._tell("ADDED", pod)
        return 201, pod

    def _delete(self, pod: Json) -> None:
        del self.pods[pod["metadata"]["namespace"], pod["metadata"]["name"]]
        pod["metadata"]["deletionTimestamp"] = _now()
        self._tell("DELETED", pod)

    def _tell(self, kind: str, pod: Json) -> None:
        self._version += 1
        pod["metadata"]["resourceVersion"] = str(self._version)
        for watch in self._watches:
            watch.put((kind, json.loads(json.dumps(pod))))


def _matching(events: queue.SimpleQueue[tuple[str, Json]], asked: dict[str, str]) -> Iterator[Json]:
    while True:
        kind, pod = events.get()
        if _is_selected(pod, asked):
            yield {"type": kind, "object": pod}


def _allows(rule: Json, verb: str, resource: str) -> bool:
    return all("*" in rule[kind] or asked in rule[kind] for kind, asked in (("verbs", verb), ("resources", resource)))


def _is_selected(pod: Json, asked: dict[str, str]) -> bool:
    labels = pod["metadata"].get("labels", {})
    for requirement in re.split(r",(?![^(]*\))", asked.get("labelSelector", "")):
        one_of = re.fullmatch(r"(\S+) in \((.*)\)", requirement)
        if one_of is not None:
            holds = labels.get(one_of[1]) in one_of[2].split(",")
        elif requirement.startswith("!"):
            holds = requirement[1:] not in labels
        elif "=" in requirement:
            name, sign, value = re.split("(!?==?)", requirement)
            holds = (labels.get(name) == value) != sign.startswith("!")
        else:
            holds = not requirement or requirement in labels
        if not holds:
            return False
    phase = re.fullmatch(r"status\.phase==?(\w+)", asked.get("fieldSelector", ""))
    return phase is None or pod["status"]["phase"] == phase[1]


def _merge(into: Json, patch: Json) -> None:
    for name, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _failure(code: int, reason: str, message: str) -> tuple[int, Json]:
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Kubelet:
    """Runs every pod of the ``namespace`` of the API server at ``url``, below ``folder``; ``secrets`` are its Secrets."""

    url: str
    token: str
    folder: Path
    namespace: str
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    authority: str | bool = True
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    started: list[Json] = field(default_factory=list)

    def start(self) -> None:
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {self.token}"
        self._session.verify = self.authority
        self._session.trust_env = False  # a REQUESTS_CA_BUNDLE would be taken before the authority
        self._pods = f"{self.url}/api/v1/namespaces/{self.namespace}/pods"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End every container, at once."""
        self._ended.set()
        self._thread.join()
        for process in self.running.values():
            process.kill()
            process.wait()

    def log(self, name: str) -> str:
        """What the pod's container said."""
        return (self.folder / name / "log").read_text(errors="replace")

    def workdir(self, name: str) -> Path:
        """The pod's working folder that is the image's."""
        return self.folder / name / "workdir"

    def _work(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            there = {pod["metadata"]["name"]: pod for pod in self._session.get(self._pods).json()["items"]}
            for name, pod in there.items():
                if pod["status"]["phase"] == "Pending" and name not in self.running:
                    self._run(pod)
            for name, process in list(self.running.items()):
                if name not in there and process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                elif process.poll() is not None:
                    del self.running[name]
                    if name in there:
                        self._report(there[name], process.returncode)

    def _run(self, pod: Json) -> None:
        name = pod["metadata"]["name"]
        self.started.append(pod)
        status = {"phase": "Running", "podIP": f"127.0.0.{len(self.started) + 1}", "startTime": _now()}
        (container,) = pod["spec"]["containers"]
        self.workdir(name).mkdir(parents=True)
        environment = self._environment(pod, container, status["podIP"])
        command = command_of([*container.get("command", entrypoint()), *container.get("args", [])], _BIN)
        with (self.folder / name / "log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command, env=environment, cwd=self.workdir(name), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._patch(pod, status, {"running": {"startedAt": _now()}})

    def _report(self, pod: Json, code: int) -> None:
        code = 128 - code if code < 0 else code
        phase, reason = ("Succeeded", "Completed") if code == 0 else ("Failed", "Error")
        self._patch(pod, {"phase": phase}, {"terminated": {"exitCode": code, "reason": reason, "finishedAt": _now()}})

    def _patch(self, pod: Json, status: Json, state: Json) -> None:
        (container,) = pod["spec"]["containers"]
        found = {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0}
        status["containerStatuses"] = [found | {"ready": "running" in state, "state": state}]
        address = f"{self._pods}/{pod['metadata']['name']}/status"
        kind = {"Content-Type": "application/merge-patch+json"}
        answer = self._session.patch(address, data=json.dumps({"status": status}), headers=kind)
        assert answer.status_code in (200, 404), answer.text

    def _environment(self, pod: Json, container: Json, address: str) -> dict[str, str]:
        """The image's, and what the pod adds: volumes are folders here, so what names a mount's path names the folder."""
        mounts = {}
        empty = {volume["name"] for volume in pod["spec"].get("volumes", []) if "emptyDir" in volume}
        for mount in container.get("volumeMounts", []):
            if mount["name"] in empty:
                mounts[mount["mountPath"]] = self.folder / pod["metadata"]["name"] / mount["name"]
                mounts[mount["mountPath"]].mkdir()
        found = {
            "PATH": f"{_BIN}:/usr/bin:/bin",
            "XDG_CACHE_HOME": str(user_cache_dir().parent),
            "RETAIL_HOME": "/nonexistent",
        }
        fields = {"status.podIP": address, "metadata.name": pod["metadata"]["name"]}
        for entry in container["env"]:
            given = entry.get("valueFrom", {})
            if "fieldRef" in given:
                value = fields[given["fieldRef"]["fieldPath"]]
            elif "secretKeyRef" in given:
                value = self.secrets[given["secretKeyRef"]["name"]][given["secretKeyRef"]["key"]]
            else:
                value = entry.get("value", "")
            for path, folder in mounts.items():
                value = value.replace(path, str(folder))
            found[entry["name"]] = value
        return found
