"""The schedule of a run: which faults, in which order, all from a seed; written down, so that it can be played again."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path
from random import Random

from retail_platform.chaos.faults import (
    DAMAGES,
    DamageCheckpoint,
    Fault,
    FullDisk,
    KillAtPoint,
    KillAtRandom,
    KillBroker,
    KillDaily,
    KillReactions,
    KillService,
    KillWhileStarting,
    Pause,
    SecondStart,
    from_json,
    to_json,
)
from retail_platform.chaos.points import DAILY_POINTS, POINTS, VICTIMS
from retail_platform.chaos.services import CODE, DAEMON
from retail_platform.contracts import BRONZE_EVENTS, SALES_BY_MINUTE, TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.reactions.applications import APPLICATIONS

_QUERIES = (BRONZE_EVENTS.path, TRANSACTIONS.silver_table.path)
_LONGEST_PAUSE = 30.0
#: Of eight faults in a row: four at named points, two while starting, one at random, one of another kind.
_ROUND = ("point", "starting", "point", "random", "point", "starting", "point", "other")


def schedule(seed: int, faults: int) -> list[Fault]:
    """``faults`` faults: the named points in turn, in a shuffled order, with the other kinds between them."""
    random = Random(f"{seed}:schedule")
    points = list(POINTS)
    random.shuffle(points)
    others = [_broker, _pause, _second_start]
    random.shuffle(others)
    turns, other_turns = cycle(points), cycle(others)
    made: list[Fault] = []
    for _, kind in zip(range(faults), cycle(_ROUND), strict=False):
        if kind == "point":
            made.append(_at(next(turns), random))
        elif kind == "random":
            made.append(KillAtRandom(round(random.uniform(0, 5), 2), random.choice(VICTIMS)))
        elif kind == "starting":
            made.append(KillWhileStarting(round(random.uniform(1, 25), 2), random.choice(VICTIMS)))
        else:
            made.append(next(other_turns)(random))
    return made


def damages() -> list[Fault]:
    """Every damage to a checkpoint, one of each."""
    return [DamageCheckpoint(query, damage) for query in _QUERIES for damage in DAMAGES]


def daily_kills() -> list[Fault]:
    """The daily job dies at each of its points."""
    return [KillDaily(point) for point in DAILY_POINTS]


def service_kills(seed: int) -> list[Fault]:
    """Dagster's processes die, alone and with all they started, and a driver that they carry.

    Of these, three end the stream's run: the supervisor gives up after five failures in a row.
    """
    random = Random(f"{seed}:services")
    made: list[Fault] = [
        KillService(service, whole, round(random.uniform(0, 20), 1))
        for service in (DAEMON, CODE)
        for whole in (False, True)
    ]
    made.append(KillAtRandom(round(random.uniform(0, 5), 2), "both"))
    random.shuffle(made)
    return made


def with_reaction_kills(faults: list[Fault], seed: int) -> list[Fault]:
    """The same faults, and after each the end of an application of the reactions: these in turn, every second one twice."""
    random = Random(f"{seed}:reactions")
    names = [application.name for application in APPLICATIONS]
    random.shuffle(names)
    made: list[Fault] = []
    for number, (fault, name) in enumerate(zip(faults, cycle(names), strict=False)):
        again = round(random.uniform(0.5, 10), 1) if number % 2 else None
        made += [fault, KillReactions(name, round(random.uniform(0, 5), 2), again)]
    return made


def full_disks(faults: int) -> list[Fault]:
    """The disk is full ``faults`` times, and a driver that has just gone on is killed in between."""
    made: list[Fault] = []
    for _ in range(faults):
        made += [FullDisk(), KillAtRandom(2.0, "both")]
    return made[:-1]


def write(path: Path, seed: int, rate: float, faults: list[Fault]) -> None:
    """Write a schedule down."""
    record = {"seed": seed, "rate": rate, "faults": [to_json(fault) for fault in faults]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> tuple[int, float, list[Fault]]:
    """The seed, the rate and the faults of a schedule that was written down.

    Raises:
        RetailError: the file is not a schedule.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return int(record["seed"]), float(record["rate"]), [from_json(fault) for fault in record["faults"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RetailError(f"{path} is not a schedule ({error}); give the schedule.json of a chaos run") from error


def _at(point: str, random: Random) -> KillAtPoint:
    # The minute sales are merged once a minute, everything else with each batch.
    nth = 1 if point.endswith(SALES_BY_MINUTE.path) else random.randint(1, 2)
    return KillAtPoint(point, nth, random.choice(VICTIMS), round(random.uniform(0, 0.4), 3))


def _broker(random: Random) -> Fault:
    return KillBroker(round(random.uniform(0, 5), 2))


def _pause(random: Random) -> Fault:
    return Pause(round(random.uniform(3, _LONGEST_PAUSE), 1))


def _second_start(_random: Random) -> Fault:
    return SecondStart()
