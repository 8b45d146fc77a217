"""``retail watch``: what the reactions say, as they say it: a line for each result; the metrics as a table that lives."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import typer
from rich.live import Live
from rich.table import Table

from retail_platform.cli.app import app, err, harmless, out
from retail_platform.contracts import (
    CUSTOMER_SEGMENTS,
    FRAUD_ALERTS,
    LIVE_METRICS,
    PRICE_UPDATES,
    REORDER_REQUESTS,
    STOCK_LEVELS,
)
from retail_platform.reactions import reading
from retail_platform.settings import Settings, get_settings

watch = typer.Typer(help="See results on their Kafka topics as they come, until Ctrl-C.", no_args_is_help=True)
app.add_typer(watch, name="watch", rich_help_panel="Look")

_COLOURS = {
    "low": "white", "medium": "yellow", "high": "red",
    "recommended": "cyan", "applied": "green", "rolled_back": "yellow", "withheld": "bright_black",
}  # fmt: skip
_DIMENSIONS = ("all", "channel", "store", "region", "category")
_SHOWN_OF_A_DIMENSION = 8

FromStart = Annotated[bool, typer.Option("--from-start", help="All that the topic still holds, then what comes.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
ToEnd = Annotated[
    bool, typer.Option("--to-end", help="All that the topic holds now, then end, instead of waiting for more.")
]
Limit = Annotated[int, typer.Option(min=0, help="End after so many; 0: never. Fewer are waited for, but for --to-end.")]

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _How:
    """What was asked for on the command line."""

    from_start: bool
    to_end: bool
    as_json: bool
    limit: int


@watch.command()
def alerts(from_start: FromStart = False, to_end: ToEnd = False, as_json: AsJson = False, limit: Limit = 0) -> None:
    """Fraud alerts: when, how severe, which rule, which card and store, and why."""
    _lines(get_settings(), FRAUD_ALERTS.topic, alert_line, _How(from_start, to_end, as_json, limit))


@watch.command()
def metrics(from_start: FromStart = False, to_end: ToEnd = False, as_json: AsJson = False, limit: Limit = 0) -> None:
    """Live metrics: on a terminal a table of the running minute, hour and day; else a line for each cell that changes."""
    settings = get_settings()
    if as_json or not out.is_terminal:
        _lines(settings, LIVE_METRICS.topic, metric_line, _How(from_start, to_end, as_json, limit))
        return
    board = Board()
    with Live(get_renderable=board.table, console=out, refresh_per_second=4):
        _follow(settings, LIVE_METRICS.topic, board.take, _How(from_start, to_end, as_json, limit))


@watch.command()
def stock(from_start: FromStart = False, to_end: ToEnd = False, as_json: AsJson = False, limit: Limit = 0) -> None:
    """Stock levels: which store and product, what it has now, and what changed it."""
    _lines(get_settings(), STOCK_LEVELS.topic, stock_line, _How(from_start, to_end, as_json, limit))


@watch.command()
def reorders(from_start: FromStart = False, to_end: ToEnd = False, as_json: AsJson = False, limit: Limit = 0) -> None:
    """Reorder requests: which store and product, how much to order, and the stock and demand that say so."""
    _lines(get_settings(), REORDER_REQUESTS.topic, reorder_line, _How(from_start, to_end, as_json, limit))


@watch.command()
def prices(from_start: FromStart = False, to_end: ToEnd = False, as_json: AsJson = False, limit: Limit = 0) -> None:
    """Prices: which product, what was decided, from what to what, and why."""
    _lines(get_settings(), PRICE_UPDATES.topic, price_line, _How(from_start, to_end, as_json, limit))


@watch.command()
def segments(from_start: FromStart = False, to_end: ToEnd = False, as_json: AsJson = False, limit: Limit = 0) -> None:
    """Customer segments: who moved, from where to where, with which scores."""
    _lines(get_settings(), CUSTOMER_SEGMENTS.topic, segment_line, _How(from_start, to_end, as_json, limit))


# --- One record -------------------------------------------------------------------------------------------------------


def alert_line(alert: Record) -> str:
    """A fraud alert, for a terminal."""
    trial = " (on trial)" if alert["shadow"] == "yes" else ""
    facts = harmless(f"card {alert['card_token']}, store {alert['store_id']}, {alert['evidence']}")
    what = f"{_coloured(alert['severity'], 6)} {alert['score']} [bold]{harmless(alert['rule'])}[/]{trial}"
    return f"{_moment(alert)} {what} {facts}"


def metric_line(metric: Record) -> str:
    """A cell of the live metrics, for a terminal."""
    figures = f"orders {metric['orders']}, returns {metric['returns']}, customers {metric['customers']}"
    return f"{_window(metric)} [bold]{harmless(_part(metric))}[/]: {figures}, {_dollars(metric['revenue_usd'])}"


def stock_line(level: Record) -> str:
    """A stock level, for a terminal."""
    place = harmless(f"store {level['store_id']}, {level['product_id']}")
    colour = "red" if level["on_hand"] < 0 else "white"
    return f"{_moment(level)} {place}: [{colour}]{level['on_hand']}[/] ({level['change']:+d}, {level['reason']})"


def reorder_line(request: Record) -> str:
    """A request to reorder, for a terminal."""
    place = harmless(f"store {request['store_id']}, {request['product_id']}")
    held = {"held": " [yellow](held for a person)[/]", "released": " (released)"}.get(request["status"], "")
    why = f"position {request['position']} at a reorder point of {request['reorder_point']}"
    demand = f"demand {request['demand_mean']} a day by {request['demand_method']}"
    return f"{_moment(request)} {place}: order [bold]{request['quantity']}[/]{held} ({why}, {demand})"


def price_line(update: Record) -> str:
    """A decision on a price, for a terminal."""
    name = harmless(update["product_id"])
    step = update["current_price"] if update["price"] is None else f"{update['current_price']} → {update['price']}"
    allowed = f"{update['floor']} to {update['ceiling']}"
    why = f"{update['reason']}, allowed {allowed}"
    return f"{_moment(update)} {_coloured(update['status'], 11)} [bold]{name}[/] {step} USD ({why})"


def segment_line(change: Record) -> str:
    """A change of a customer's segment, for a terminal."""
    before = change["previous_segment"] or "nobody"
    scores = "no sale in a year"
    if change["orders"] is not None:
        fifths = f"{change['recency_score']}{change['frequency_score']}{change['monetary_score']}"
        scores = f"RFM {fifths}: {change['recency_days']} days, {change['orders']} orders, "
        scores += _dollars(change["revenue_usd"])
    name = harmless(change["customer_id"])
    return f"{_moment(change)} customer [bold]{name}[/] {before} → [bold]{change['segment']}[/] ({scores})"


@dataclass
class Board:
    """The cells of the newest minute, hour and day that anything was said of."""

    _windows: dict[str, tuple[str, dict[str, Record]]] = field(default_factory=dict)

    def take(self, cell: Record) -> None:
        """Take in a cell: one of an older window, or an older revision, changes nothing."""
        start, cells = self._windows.get(cell["grain"], ("", {}))
        if cell["window_start"] > start:
            start, cells = cell["window_start"], {}
            self._windows[cell["grain"]] = start, cells
        known = cells.get(cell["metric_key"])
        if cell["window_start"] == start and (known is None or cell["revision"] > known["revision"]):
            cells[cell["metric_key"]] = cell

    def table(self) -> Table:
        """The minute and hour in all; of the day the parts with most orders."""
        table = Table("window", "of", title="Live metrics; Ctrl-C ends it")
        for name in ("orders", "returns", "customers", "revenue", "average order"):
            table.add_column(name, justify="right")
        for cell in self._shown():
            counts = (f"{cell[name]:,}" for name in ("orders", "returns", "customers"))
            money = (_dollars(cell[name]) for name in ("revenue_usd", "avg_order_value_usd"))
            table.add_row(_window(cell), harmless(_part(cell)), *counts, *money)
        return table

    def _shown(self) -> list[Record]:
        def cells(grain: str, dimension: str) -> list[Record]:
            _, found = self._windows.get(grain, ("", {}))
            mine = [cell for cell in list(found.values()) if cell["dimension"] == dimension]
            return sorted(mine, key=lambda cell: (-cell["orders"], cell["dimension_value"]))[:_SHOWN_OF_A_DIMENSION]

        day = [cell for dimension in _DIMENSIONS for cell in cells("day", dimension)]
        return [*cells("minute", "all"), *cells("hour", "all"), *day]


def _window(cell: Record) -> str:
    return f"{cell['grain']:<6} from {cell['window_start'][:16].replace('T', ' ')}Z"


def _part(cell: Record) -> str:
    return "all" if cell["dimension"] == "all" else f"{cell['dimension']} {cell['dimension_value']}"


def _moment(record: Record) -> str:
    return dt.datetime.fromisoformat(record["event_time"]).strftime("%Y-%m-%d %H:%M:%SZ")


def _coloured(word: str, width: int) -> str:
    return f"[{_COLOURS[word]}]{word:<{width}}[/]"


def _dollars(amount: str | None) -> str:
    return "no rate" if amount is None else f"{amount} USD"


# --- The topic --------------------------------------------------------------------------------------------------------


def _lines(settings: Settings, topic: str, line: Callable[[Record], str], how: _How) -> None:
    def show(record: Record) -> None:
        if how.as_json:
            out.print(json.dumps(record), soft_wrap=True, markup=False)
        else:
            out.print(line(record), soft_wrap=True)

    if not (how.as_json or how.to_end):
        err.print(f"{topic}: waiting; Ctrl-C ends it")
    _follow(settings, topic, show, how)


def _follow(settings: Settings, topic: str, take: Callable[[Record], None], how: _How) -> None:
    count = 0

    def waits() -> None:
        if how.from_start and how.limit and not how.to_end:
            err.print(f"{topic}: it held {count} of {how.limit}; waiting for more (--to-end would end here)")

    async def follow() -> None:
        nonlocal count
        since: Literal["start", "now"] = "start" if how.from_start or how.to_end else "now"
        found = reading.records(settings, topic, since, to_end=how.to_end, at_end=waits)
        async with contextlib.aclosing(found) as records:
            async for record in records:
                take(json.loads(record.value))
                count += 1
                if count == how.limit:
                    return

    asyncio.run(follow())


async def first(settings: Settings, topic: str) -> Record:
    """The first committed record of a topic that is not of a rule on trial; it is waited for."""
    async with contextlib.aclosing(reading.records(settings, topic, "start")) as records:
        values = (json.loads(record.value) async for record in records)
        return await anext(value async for value in values if value.get("shadow") != "yes")
