"""The channels against a server that checks what the real services check."""

from __future__ import annotations

import datetime as dt
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from retail_platform.alerts import text
from retail_platform.alerts.channels import RefusedError, Sender, UnreachableError, senders
from retail_platform.alerts.incidents import Event, Fault, Message
from retail_platform.alerts.routing import ROUTES, Channel, Owner, Severity
from retail_platform.errors import SettingsError
from retail_platform.settings import PROJECT_ROOT, Settings, load_settings
from retail_platform_tests.alerts.receiver import ROUTING_KEY, Receiver, receiving

BEGAN = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
OPENED = Message(
    incident="retail-1",
    event=Event.opened,
    at=BEGAN,
    since=BEGAN,
    fault=Fault.check,
    subject="unique_key on silver/transaction_lines",
    owner=Owner.retail_sales,
    severity=Severity.critical,
    summary="3 keys occur twice, one is <a> & b",
    page="/assets/silver/transaction_lines?view=checks",
    days=frozenset({dt.date(2026, 3, 1), dt.date(2026, 2, 28)}),
)
RECOVERED = replace(OPENED, event=Event.recovered, at=BEGAN + dt.timedelta(hours=1), summary="the check passed")
TOKEN = "s3cr3t-token"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A running receiver."""
    with receiving() as running:
        yield running


def channel_settings(url: str) -> Settings:
    """Settings with every channel at ``url``."""
    return load_settings(
        env_file=None,
        alert_webhook_url=f"{url}/hook?token={TOKEN}",
        alert_slack_webhook_url=f"{url}/slack?token={TOKEN}",
        alert_pagerduty_routing_key=ROUTING_KEY,
        alert_pagerduty_url=f"{url}/pagerduty",
    )


def all_senders(url: str) -> dict[Channel, Sender]:
    """A sender for every channel, at ``url``."""
    found = senders(channel_settings(url), logging.getLogger("alerts-under-test"))
    return {sender.channel: sender for sender in found}


@pytest.mark.parametrize("message", [OPENED, replace(OPENED, event=Event.escalated), RECOVERED], ids=lambda m: m.event)
def test_every_service_accepts_every_message_in_its_own_format(receiver: Receiver, message: Message) -> None:
    for sender in all_senders(receiver.url).values():
        sender.send(message)
    assert receiver.refused == []
    assert {path: len(taken) for path, taken in receiver.taken.items()} == {"/hook": 1, "/slack": 1, "/pagerduty": 1}


def test_words_of_any_length_are_cut_to_what_the_services_take(receiver: Receiver) -> None:
    endless = replace(OPENED, summary="x" * 9000, subject="y" * 400)
    for sender in all_senders(receiver.url).values():
        sender.send(endless)
    assert receiver.refused == []


def test_pagerduty_resolves_what_it_was_triggered_with(receiver: Receiver) -> None:
    pagerduty = all_senders(receiver.url)[Channel.pagerduty]
    pagerduty.send(OPENED)
    pagerduty.send(RECOVERED)
    trigger, resolve = receiver.taken["/pagerduty"]
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"] == "retail-1"
    assert trigger["payload"]["severity"] == "critical"


def test_slack_gets_no_control_characters_from_data(receiver: Receiver) -> None:
    all_senders(receiver.url)[Channel.slack].send(OPENED)
    (body,) = receiver.taken["/slack"]
    assert "&lt;a&gt; &amp; b" in body["blocks"][1]["text"]["text"]


def test_an_alert_says_what_since_when_how_bad_where_and_what_to_do_first() -> None:
    assert text.title(OPENED) == (
        "Failing [critical]: check unique_key on silver/transaction_lines (2026-02-28 to 2026-03-01)"
    )
    assert text.facts(OPENED, "http://127.0.0.1:3000/") == {
        "what": "3 keys occur twice, one is <a> & b",
        "since": "2026-03-02 12:00:00 UTC",
        "how bad": "critical, for the team retail-sales",
        "page": "http://127.0.0.1:3000/assets/silver/transaction_lines?view=checks",
        "first": f"{text.FIRST[Fault.check]} Guide: docs/operate/alerts.md#check",
    }


def test_every_fault_has_a_first_step_and_a_section_of_the_guide() -> None:
    assert set(text.FIRST) == set(Fault)
    guide = (PROJECT_ROOT / "docs" / "operate" / "alerts.md").read_text(encoding="utf-8")
    assert [fault for fault in Fault if f"\n### {fault}\n" not in guide] == []


def test_the_guide_shows_the_routes_as_they_are() -> None:
    guide = (PROJECT_ROOT / "docs" / "operate" / "alerts.md").read_text(encoding="utf-8")
    names = {Channel.webhook: "webhook", Channel.slack: "Slack", Channel.pagerduty: "PagerDuty"}
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in guide.splitlines() if line.startswith("|")
    ]
    for owner, severities in ROUTES.items():
        told = [", ".join(name for channel, name in names.items() if channel in found) for found in severities.values()]
        assert [cells[1:] for cells in rows if owner in cells[0].split(", ")] == [told]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_an_answer_that_says_later_is_a_channel_that_is_down(receiver: Receiver, status: int) -> None:
    receiver.answers["/slack"] = status
    with pytest.raises(UnreachableError, match=f"slack answered {status}"):
        all_senders(receiver.url)[Channel.slack].send(OPENED)


@pytest.mark.parametrize("status", [400, 404, 410])
def test_an_answer_that_says_no_is_a_refusal(receiver: Receiver, status: int) -> None:
    receiver.answers["/slack"] = status
    with pytest.raises(RefusedError, match=f"slack answered {status}"):
        all_senders(receiver.url)[Channel.slack].send(OPENED)


def test_a_redirect_is_not_acceptance(receiver: Receiver) -> None:
    receiver.answers["/slack"] = 302
    with pytest.raises(RefusedError, match="slack answered 302"):
        all_senders(receiver.url)[Channel.slack].send(OPENED)
    assert receiver.taken["/hook"] == []


@pytest.mark.parametrize("channel", [Channel.webhook, Channel.slack, Channel.pagerduty])
def test_a_server_that_is_not_there_is_one_line_without_the_secret_address(channel: Channel) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(UnreachableError) as raised:
        all_senders(f"http://127.0.0.1:{port}")[channel].send(OPENED)
    assert str(raised.value) == f"{channel} does not answer (ConnectionRefusedError)"


def test_the_log_takes_everything_at_the_level_of_its_severity(caplog: pytest.LogCaptureFixture) -> None:
    (log,) = senders(load_settings(env_file=None), logging.getLogger("alerts-under-test"))
    with caplog.at_level(logging.INFO):
        log.send(OPENED)
        log.send(RECOVERED)
    assert [record.levelname for record in caplog.records] == ["CRITICAL", "INFO"]
    assert "first: " in caplog.messages[0]


@pytest.mark.parametrize("name", ["alert_webhook_url", "alert_slack_webhook_url", "alert_pagerduty_url"])
@pytest.mark.parametrize("value", ["hooks.example.com/x", "ftp://example.com/x", "https://a b"])
def test_an_address_that_is_none_is_refused_by_name_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.upper()) as raised:
        load_settings(env_file=None, **{name: value})
    assert value not in str(raised.value)


def test_the_settings_do_not_print_where_alerts_go() -> None:
    printed = repr(channel_settings("https://hooks.example.com"))
    assert TOKEN not in printed
    assert ROUTING_KEY not in printed
