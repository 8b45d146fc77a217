"""A local HTTP server that takes alerts as Slack, PagerDuty and a webhook do: it checks each one's format, and can be down."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ROUTING_KEY = "0123456789abcdef0123456789ABCDEF"


class Receiver:
    """What came, by path, and how the next requests are answered."""

    def __init__(self) -> None:
        self.taken: dict[str, list[dict[str, Any]]] = {"/hook": [], "/slack": [], "/pagerduty": []}
        self.refused: list[str] = []
        self.answers: dict[str, int] = {}
        self.attempts = 0
        self.url = ""

    def take(self, path: str, body: dict[str, Any]) -> int:
        """The status that the real service would answer with."""
        self.attempts += 1
        if path in self.answers:
            return self.answers[path]
        problem = _PROBLEMS[path](body)
        if problem is not None:
            self.refused.append(f"{path}: {problem}")
            return 400
        self.taken[path].append(body)
        return 202 if path == "/pagerduty" else 200


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A running receiver on a free port of the loopback."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status = receiver.take(self.path.split("?")[0], body)
            self.send_response(status)
            if status == 302:
                self.send_header("location", f"{receiver.url}/hook")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the console quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _slack_problem(body: dict[str, Any]) -> str | None:
    """By Slack's reference of incoming webhooks and Block Kit."""
    if not isinstance(body.get("text"), str) or not body["text"] or set(body) - {"text", "blocks"}:
        return "no_text"
    if not 1 <= len(body["blocks"]) <= 50:
        return "invalid_blocks"
    for block in body["blocks"]:
        match block:
            case {"type": "header", "text": {"type": "plain_text", "text": words}} if 0 < len(words) <= 150:
                pass
            case {"type": "section", "text": {"type": "mrkdwn", "text": words}} if 0 < len(words) <= 3000:
                pass
            case {"type": "context", "elements": [{"type": "mrkdwn", "text": words}]} if words:
                pass
            case _:
                return "invalid_blocks"
    return None


def _pagerduty_problem(body: dict[str, Any]) -> str | None:
    """By PagerDuty's reference of the Events API v2."""
    rules = {
        "routing_key": body.get("routing_key") == ROUTING_KEY,
        "dedup_key": 0 < len(body.get("dedup_key", "")) <= 255,
        "event_action": body.get("event_action") in ("trigger", "resolve"),
    }
    if body.get("event_action") == "trigger":
        payload = body["payload"]
        rules |= {
            "summary": 0 < len(payload["summary"]) <= 1024,
            "source": bool(payload["source"]),
            "severity": payload["severity"] in ("critical", "error", "warning", "info"),
            "timestamp": dt.datetime.fromisoformat(payload["timestamp"]).tzinfo is not None,
            "links": all(set(link) == {"href", "text"} for link in body["links"]),
        }
    return ", ".join(name for name, holds in rules.items() if not holds) or None


def _webhook_problem(body: dict[str, Any]) -> str | None:
    wanted = {
        "id",
        "incident",
        "event",
        "severity",
        "fault",
        "subject",
        "owner",
        "days",
        "since",
        "at",
        "title",
        "facts",
    }
    return None if set(body) == wanted else "fields"


_PROBLEMS = {"/slack": _slack_problem, "/pagerduty": _pagerduty_problem, "/hook": _webhook_problem}
