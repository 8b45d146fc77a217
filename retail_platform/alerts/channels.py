"""The ways to be told: the log, a webhook, Slack, PagerDuty. A channel accepts a message or raises; nothing in between."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import logging
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from pydantic import SecretStr

from retail_platform.alerts import text
from retail_platform.alerts.incidents import Event, Message
from retail_platform.alerts.routing import Channel, Severity
from retail_platform.errors import RetailError
from retail_platform.settings import Settings

_TIMEOUT_SECONDS = 5.0
_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
# What the receivers take: Slack's Block Kit and PagerDuty's Events API v2 refuse longer ones.
_SLACK_HEADER, _SLACK_SECTION, _PAGERDUTY_SUMMARY = 150, 3000, 1024
_LOG_LEVELS = {Severity.warning: logging.WARNING, Severity.error: logging.ERROR, Severity.critical: logging.CRITICAL}


class UnreachableError(RetailError):
    """The channel cannot take anything now: no answer, or an answer that says later."""


class RefusedError(RetailError):
    """The channel answered that it does not take this message."""


class Sender(Protocol):
    """What delivers to one channel."""

    @property
    def channel(self) -> Channel:
        """Which one."""

    def send(self, message: Message) -> None:
        """Return when the channel has accepted ``message``.

        Raises:
            UnreachableError: it takes nothing now.
            RefusedError: it does not take this message.
        """


@dataclass(frozen=True, slots=True)
class Log:
    """Lines in a log; it accepts everything."""

    logger: logging.Logger
    ui_url: str
    channel: Channel = Channel.log

    def send(self, message: Message) -> None:
        """Write the alert, at the level of its severity."""
        level = logging.INFO if message.event is Event.recovered else _LOG_LEVELS[message.severity]
        lines = (f"  {name}: {value}" for name, value in text.facts(message, self.ui_url).items())
        self.logger.log(level, "%s", "\n".join((text.title(message), *lines)))


@dataclass(frozen=True, slots=True)
class Webhook:
    """A POST of the whole message as JSON; ``id`` is the same when it comes twice."""

    url: SecretStr
    ui_url: str
    channel: Channel = Channel.webhook

    def send(self, message: Message) -> None:
        """Post it."""
        _post(self.channel, self.url.get_secret_value(), webhook_body(message, self.ui_url))


@dataclass(frozen=True, slots=True)
class Slack:
    """A Slack incoming webhook."""

    url: SecretStr
    ui_url: str
    channel: Channel = Channel.slack

    def send(self, message: Message) -> None:
        """Post it as blocks, with the title as the notification's text."""
        _post(self.channel, self.url.get_secret_value(), slack_body(message, self.ui_url))


@dataclass(frozen=True, slots=True)
class PagerDuty:
    """PagerDuty's Events API v2: opened and worse are triggers, recovered a resolve, by the same ``dedup_key``."""

    url: str
    routing_key: SecretStr
    ui_url: str
    channel: Channel = Channel.pagerduty

    def send(self, message: Message) -> None:
        """Enqueue the event."""
        body = pagerduty_body(message, self.ui_url) | {"routing_key": self.routing_key.get_secret_value()}
        _post(self.channel, self.url, body)


def senders(settings: Settings, logger: logging.Logger) -> tuple[Sender, ...]:
    """The log, and each channel that is set."""
    ui_url = settings.dagster_ui_url
    found: list[Sender] = [Log(logger, ui_url)]
    if settings.alert_webhook_url is not None:
        found.append(Webhook(settings.alert_webhook_url, ui_url))
    if settings.alert_slack_webhook_url is not None:
        found.append(Slack(settings.alert_slack_webhook_url, ui_url))
    if settings.alert_pagerduty_routing_key is not None:
        found.append(PagerDuty(settings.alert_pagerduty_url, settings.alert_pagerduty_routing_key, ui_url))
    return tuple(found)


def webhook_body(message: Message, ui_url: str) -> dict[str, Any]:
    """The generic webhook's JSON."""
    return {
        "id": message.id,
        "incident": message.incident,
        "event": message.event.value,
        "severity": message.severity.name,
        "fault": message.fault.value,
        "subject": message.subject,
        "owner": message.owner.value,
        "days": text.spoken_days(message.days),
        "since": _timestamp(message.since),
        "at": _timestamp(message.at),
        "title": text.title(message),
        "facts": text.facts(message, ui_url),
    }


def slack_body(message: Message, ui_url: str) -> dict[str, Any]:
    """Block Kit: a header, the facts, a link."""
    found = text.facts(message, ui_url)
    page = found.pop("page")
    lines = (f"*{name.capitalize()}*: {_escaped(value)}" for name, value in found.items())
    section = _cut("\n".join(lines), _SLACK_SECTION)
    return {
        "text": _escaped(text.title(message)),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": _cut(text.title(message), _SLACK_HEADER)}},
            {"type": "section", "text": {"type": "mrkdwn", "text": section}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": f"<{page}|Open in Dagster>"}]},
        ],
    }


def pagerduty_body(message: Message, ui_url: str) -> dict[str, Any]:
    """The event without its routing key."""
    if message.event is Event.recovered:
        return {"event_action": "resolve", "dedup_key": message.incident}
    return {
        "event_action": "trigger",
        "dedup_key": message.incident,
        "client": "retail-platform",
        "client_url": text.link(message, ui_url),
        "links": [{"href": text.link(message, ui_url), "text": "Open in Dagster"}],
        "payload": {
            "summary": _cut(f"{text.title(message)}: {message.summary}", _PAGERDUTY_SUMMARY),
            "source": message.subject,
            "severity": message.severity.name,
            "timestamp": _timestamp(message.at),
            "component": message.subject,
            "group": message.owner.value,
            "class": message.fault.value,
            "custom_details": text.facts(message, ui_url),
        },
    }


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET and look accepted."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""


def _post(channel: Channel, url: str, body: dict[str, Any]) -> None:
    """POST JSON; an answer of 2xx is acceptance. The address is a secret: no error may carry it."""
    request = urllib.request.Request(  # noqa: S310 (settings allow http and https only)
        url, json.dumps(body).encode(), {"content-type": "application/json", "user-agent": "retail-platform"}
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        later = error.code in _BUSY or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise (UnreachableError if later else RefusedError)(f"{channel} answered {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        raise UnreachableError(f"{channel} does not answer ({type(cause).__name__})") from None


def _timestamp(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat()


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


def _escaped(words: str) -> str:
    """Slack's three characters of control."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
