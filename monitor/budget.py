"""The alarm budget in the user's words, and the run length that it asks of the decision layer.

The mean over the e-detectors alarms when it reaches A; Ville's inequality for Shiryaev-Roberts sums then gives an
average run length of at least A panes without a shift. So a budget needs only one number: panes per allowed alarm.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from monitor.quantities import duration, duration_text

NOMINAL_PANE_SECONDS = 60.0
"""How long a pane counted in rows is taken to last when a budget speaks of time and no length was measured."""
GUARD = 0.1
"""Share of a model's budget of false alarms that goes to the guard, which looks at senders."""
ERRORS = 0.2
"""Share that goes to the error stream, where labels come: nothing else sees that what is right has changed."""
SHORTEST_RUN = 2.0
"""A budget that allows more than one alarm in two panes is not a budget."""

_TEXT = re.compile(r"\s*([\d_,]*\.?\d+)\s+(?:alarms?\s+|tickets?\s+)?per\s+(.+?)\s*", re.IGNORECASE)
_PANES = re.compile(r"([\d_,]+)?\s*panes?", re.IGNORECASE)
_FORMS = 'write for example "1 per 90d", "2 per week" or "1 per 100000 panes"'


@dataclass(frozen=True, slots=True)
class Budget:
    """So many false alarms per so many seconds, or per so many panes: exactly one of the periods is set."""

    alarms: float
    period_seconds: float | None = None
    period_panes: float | None = None

    def __str__(self) -> str:
        """In the form that `parse` reads."""
        if self.period_panes is not None:
            return f"{self.alarms:g} per {self.period_panes:.0f} panes"
        return f"{self.alarms:g} per {duration_text(self.period_seconds or 0.0)}"


def parse(text: object) -> Budget:
    """Read a budget; `ValueError` says which forms there are.

    >>> parse("2 per week").period_seconds
    604800.0
    >>> str(parse("1 per 100_000 panes"))
    '1 per 100000 panes'
    """
    if isinstance(text, Budget):
        return text
    match = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        message = f"{text!r} is not an alarm budget; {_FORMS}"
        raise ValueError(message)
    alarms, period = _number(match.group(1)), match.group(2)
    panes = _PANES.fullmatch(period)
    if panes is not None:
        budget = Budget(alarms, period_panes=_number(panes.group(1) or "1"))
    else:
        budget = Budget(alarms, period_seconds=_period(period))
    if alarms <= 0 or not (budget.period_seconds or budget.period_panes):
        message = f'"{text}": alarms and period must both be above zero; {_FORMS}'
        raise ValueError(message)
    return budget


def run_length(budget: Budget, pane_seconds: float | None) -> float:
    """A: how many panes the budget puts between two false alarms.

    ``pane_seconds`` is None for panes counted in rows; a budget in time then takes a pane for `NOMINAL_PANE_SECONDS`.

    >>> run_length(parse("1 per 90d"), 60.0)
    129600.0
    """
    if budget.period_panes is not None:
        panes = budget.period_panes
    else:
        panes = (budget.period_seconds or 0.0) / (pane_seconds or NOMINAL_PANE_SECONDS)
    length = panes / budget.alarms
    if length < SHORTEST_RUN:
        message = f'"{budget}" allows an alarm every {length:.3g} panes; ask for fewer alarms or a longer period'
        raise ValueError(message)
    return length


def left(*, guard: bool, errors: bool) -> float:
    """Share of the budget that the streams of panes have among them.

    >>> left(guard=True, errors=True)
    0.7
    """
    return round(1 - GUARD * guard - ERRORS * errors, 9)


def level(length: float, share: float, born: float, panes: float) -> float:
    """Log of the threshold of one of ``born`` bets, while ``panes`` have been closed, with a share of the budget.

    ``length`` is A of the whole model in panes.
    """
    return math.log(length / share) + math.log(max(born / max(panes, 1.0), 1.0))


def _number(text: str) -> float:
    """A number with optional thousands separators."""
    return float(text.replace(",", "").replace("_", ""))


def _period(text: str) -> float:
    """Seconds of "90d", "90 days" or plain "week"."""
    try:
        return duration(text if text[0].isdigit() else f"1 {text}")
    except ValueError as error:
        message = f'"{text}" is neither a duration nor a number of panes; {_FORMS}'
        raise ValueError(message) from error
