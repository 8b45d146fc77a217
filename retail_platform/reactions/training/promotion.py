"""Whether a new model is to be used: only if it beats the one in use on a week that neither has learned from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retail_platform.errors import RetailError
from retail_platform.reactions.fraud.model import Model
from retail_platform.reactions.fraud.published import CURRENT, read, write
from retail_platform.reactions.training.measures import Measures, measures
from retail_platform.reactions.training.weekly import Trained, scores

#: What decides: of the three it is the one that neither the many honest purchases nor the number of cards a day drowns.
DECIDING = "average_precision"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided on the test week.

    ``in_use``: version of the model to score with from now on, ``None`` without any. ``promoted``: it is the new one, and was
    not before. ``why``: in words. ``incumbent``: the measures of the one in use before, on the same purchases; ``None`` when
    there was none to compare with.
    """

    in_use: str | None
    promoted: bool
    why: str
    incumbent: Measures | None


def decide(new: Trained, known: Model | None) -> Decision:
    """Compare the new model with the one in use, both on the new one's test week."""
    if known is None:
        return _against_chance(new.model)
    if known.version == new.model.version:
        return Decision(known.version, promoted=False, why="it is the model in use", incumbent=None)
    if known.training["last_date"] >= new.model.test["first_date"]:
        why = f"{known.version}, in use, has learned from the week; they cannot be compared on it"
        return Decision(known.version, promoted=False, why=why, incumbent=None)
    before = measures(new.test, scores(known, new.test))
    old, found = before[DECIDING], new.model.test[DECIDING]
    better = found > old
    relation = "beats" if better else "does not beat"
    why = f"average precision {found:.4f} {relation} {old:.4f} of {known.version}"
    return Decision(new.model.version if better else known.version, better, why, before)


def promote(folder: Path, new: Trained) -> Decision:
    """Keep the new model in the folder, and use it if it beats the one in use.

    A model in use that this code cannot score with is none.
    """
    write(folder / f"{new.model.version}.json", new.model)
    try:
        known = read(folder / CURRENT)
    except RetailError:
        known = None
    decision = decide(new, known)
    if decision.promoted:
        write(folder / CURRENT, new.model)
    return decision


def _against_chance(model: Model) -> Decision:
    """Guessing has the share of fraud as its average precision."""
    found, chance = model.test[DECIDING], model.test["frauds"] / model.test["purchases"]
    better = found > chance
    relation = "beats" if better else "does not beat"
    why = f"average precision {found:.4f} {relation} {chance:.4f} of guessing; no model was in use"
    return Decision(model.version if better else None, better, why, None)
