"""A few numbers about each of the senders, clusters and the fleet that were heard of lately, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.queries.clusters import FLEET
from detectors.queries.suspicion import Hits, Queries

Subject = tuple[str, int]
"""What a suspicion is about, and who."""
ALL: Final[Subject] = ("fleet", FLEET)
_ABOUT: Final = ("client", "cluster", "fleet")


class Subjects:
    """``width`` numbers each, 0 at first; of more than ``most`` subjects the one not heard of for longest goes."""

    def __init__(self, width: int, most: int) -> None:
        """Nobody yet."""
        self._width, self._most = width, most
        self._known: OrderedDict[Subject, list[float]] = OrderedDict()

    def get(self, subject: Subject) -> list[float] | None:
        """The subject's numbers, to be changed in place; None if it is not known."""
        return self._known.get(subject)

    def heard(self, subject: Subject) -> list[float]:
        """The same of one that is heard of now, known or not."""
        found = self._known.setdefault(subject, [0.0] * self._width)
        self._known.move_to_end(subject)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return found

    def __iter__(self) -> Iterator[tuple[Subject, list[float]]]:
        """All, the one not heard of for longest first."""
        return iter(self._known.items())

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that moves."""
        return {
            "about": np.array([_ABOUT.index(about) for about, _ in self._known], np.int8),
            "who": np.array([who % 2**64 for _, who in self._known], np.uint64),
            "numbers": np.array(list(self._known.values()), np.float64).reshape(-1, self._width),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `state`; ValueError where it is of another width."""
        if arrays["numbers"].shape[1] != self._width:
            raise ValueError(f"{arrays['numbers'].shape[1]} numbers of a subject, not {self._width}")
        about = [_ABOUT[int(code)] for code in arrays["about"]]
        who = [FLEET if one == ALL[0] else int(number) for one, number in zip(about, arrays["who"], strict=True)]
        subjects = zip(about, who, strict=True)
        self._known = OrderedDict(zip(subjects, arrays["numbers"].tolist(), strict=True))


def of_row(queries: Queries, hits: Hits, row: int) -> list[Subject]:
    """The sender and the cluster of a row, as far as it has them."""
    client, cluster = int(queries.client[row]), int(hits.cluster[row])
    named: list[Subject] = [("client", client)] if client else []
    return [*named, ("cluster", cluster)] if cluster >= 0 else named
