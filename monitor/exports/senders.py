"""Whom to leave out: senders and rows in quarantine, and those that a finding names."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.rows.layout import DigestArray
from monitor.decode import Decoded, Labels, labels_of
from monitor.exports.ground import Ground
from monitor.telling import Named, faulty, named_by

_DIGEST = re.compile(r"[0-9a-f]{16}")
_WHO = re.compile(r"(?:client|source) (.+)", re.DOTALL)
_NOBODY = "all senders"


@dataclass(slots=True)
class Held:
    """Why a sender (by digest) or a row (by id) is left out: "finding", "because", "by", "time".

    So is every row with one of the ``faults``, because of the ``finding`` that names them.
    """

    clients: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    faults: list[Named] = field(default_factory=list)
    finding: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anybody or anything is."""
        return bool(self.clients or self.rows or self.faults)


def suspects(document: Mapping[str, Any]) -> list[str]:
    """Senders and sources of labels that a finding's document names, as it names them, the most suspect first."""
    told = [str(unit["unit"]) for unit in document.get("units", ())]
    for one in document.get("evidence", {}).get("suspicions", ()):
        if one["about"] != _NOBODY:  # of all senders none is suspect
            told += [str(client) for client, _ in one["clients"]]
    found = (_WHO.fullmatch(one) for one in told)
    return list(dict.fromkeys(one.group(1) for one in found if one is not None))


def named(ground: Ground) -> Held:
    """Those whom the export's finding names, and the faults that it names."""
    found, row = Held(), ground.finding
    if row is None:
        return found
    facts = {"finding": row.id, "because": row.sentence, "by": "", "time": row.opened}
    if row.subject == "data":
        found.faults, found.finding = faulty(named_by(ground.document, ground.fitted.reference.grid.names)), facts
    plain = ground.model.security.client_names == "plain"
    for one in suspects(ground.document):
        digest = ground.pseudonyms.of_name(one) if plain else digest_of(ground, one)
        found.clients.setdefault(digest, facts)
    return found


def quarantined(ground: Ground) -> Held:
    """Those whom people have put in quarantine."""
    found = Held()
    for act in ground.archive.interventions(model=ground.model.name, kind="quarantine", active=time.time()):
        facts = {"finding": act.finding, "because": act.because, "by": act.by, "time": act.time}
        for one in act.target.get("clients", ()):
            found.clients.setdefault(digest_of(ground, str(one)), facts)
        for one in act.target.get("rows", ()):
            found.rows.setdefault(str(one), facts)
    return found


def digest_of(ground: Ground, client: str) -> int:
    """Of a pseudonym; what is none is taken for a name."""
    return int(client, 16) if _DIGEST.fullmatch(client) else ground.pseudonyms.of_name(client)


class Sieve:
    """Says of rows whether they are left out, and who is to blame."""

    def __init__(self, ground: Ground, left_out: Held) -> None:
        """Look rows up by their client, their source of labels and their id."""
        self._ground, self._held = ground, left_out
        self._wanted = np.array(sorted(left_out.clients), np.uint64)

    def marked(self, batch: pa.RecordBatch) -> tuple[NDArray[np.bool_], DigestArray]:
        """Whether each row is left out ``(n,)``, and the sender's digest, 0 where it is the row's id that is listed."""
        mark, who = np.zeros(batch.num_rows, bool), np.zeros(batch.num_rows, np.uint64)
        for labels in senders(self._ground, batch):
            digests = self._ground.pseudonyms.of_names(labels.codes, labels.values)
            theirs = np.isin(digests, self._wanted)
            mark |= theirs
            who[theirs] = digests[theirs]
        for labels in column(batch, self._ground.fitted.plan.roles.id) if self._held.rows else ():
            listed = np.array([*(name in self._held.rows for name in labels.values), False])
            mark |= listed[labels.codes]
        return mark, who


def senders(ground: Ground, batch: pa.RecordBatch) -> Iterator[Labels]:
    """Sources of labels, and clients, of a batch's rows, as far as it has them."""
    roles = ground.fitted.plan.roles
    yield from column(batch, roles.source)
    yield from column(batch, roles.client)


def column(batch: pa.RecordBatch, role: str | None) -> Iterator[Labels]:
    """The names in a column; nothing where the batch lacks it."""
    if role and (at := batch.schema.get_field_index(role)) >= 0:
        yield labels_of(batch.column(at))


def outside(ground: Ground) -> Iterator[Decoded]:
    """The kept rows of the span that are not in quarantine: what new labels and weights may be made of."""
    left_out = quarantined(ground)
    sieve = Sieve(ground, left_out)
    for some in ground.rows():
        mark = sieve.marked(some.batch)[0] if left_out else np.zeros(0, bool)
        if mark.all() and len(mark):
            continue
        yield ground.decoder.decode(some.batch.filter(pa.array(~mark))) if mark.any() else some
