"""Which deliveries and which states are the outcome lane's: all that an agent without labels needs to know of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from monitor.sections import Columns
    from monitor.streams import ModelStreams

STATE: Final = "%outcomes"
"""The keys of the lane's states begin so; no stream can be called so."""
OUTCOMES: Final = "outcomes"
"""Stream of findings about answers held against labels."""
ERRORS: Final = f"{STATE}.errors"
"""Key of the error stream's state."""


class Pace(NamedTuple):
    """A of the whole model in panes, panes of its inputs that have been closed, and whether any input has moved."""

    length: float
    panes: int
    moved: bool


def pace_of(streams: ModelStreams) -> Pace:
    """How things stand with what the inputs show."""
    moved = any(one.state.owners or one.state.ticket_owners for one in streams.streams.values())
    return Pace(streams.run_length, streams.panes, moved)


TIMELINE: Final = f"{STATE}-timeline"
"""The key of what is known of the performance over time, as JSON (`monitor.outcomes.timeline`)."""


def states_of(model: str, saved: Mapping[str, bytes]) -> dict[str, bytes]:
    """The lane's states of one model among those of a checkpoint."""
    whose = f"{model}/"
    return {key.removeprefix(whose): blob for key, blob in saved.items() if key.startswith(f"{whose}{STATE}")}


def only_labels(roles: Columns, names: Sequence[str], known: Collection[str] | None = None) -> bool:
    """Whether a batch with these columns carries ids and labels, and nothing that a model was given or said.

    ``known`` are the columns of the reference, as soon as there is one: others do not matter then.
    """
    if roles.id not in names or roles.label not in names:
        return False
    beside = (roles.id, roles.label, roles.time, roles.client, roles.source, roles.version, *roles.ignore)
    more = set(names).difference(beside)
    return not more if known is None else more.isdisjoint(known)


def judged(roles: Columns, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches that are rows of the log: labels that came alone are none."""
    return (batch for batch in batches if not only_labels(roles, batch.schema.names))
