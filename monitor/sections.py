"""Sections of a model in the configuration file: roles of columns, panes, windows, the promise, what is compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeGuard
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field

from monitor.budget import parse
from monitor.probes.section import Probes
from monitor.strict import BudgetText, Duration, Fault, Names, Strict, unknown

NO_COLUMNS = ("classes", "image_shape", "quantile", "places", "importance")
"""Keys under `columns` that say more about a column and name none."""
TIMES = Literal["none", "hour_of_day", "weekday_hour", "hour_of_week"]
"""How a season is cut: into 1, 24, 48 or 168 references."""


def _known(kind: str, names: tuple[str, ...], known: Iterable[str]) -> tuple[str, ...]:
    """The names as they are, if there are such detectors."""
    for name in names:
        if name not in known:
            raise ValueError(unknown(kind, name, known))
    return names


def _joint_tests(names: tuple[str, ...]) -> tuple[str, ...]:
    from detectors.registry import JOINT  # the detectors' tables cost half a second: only where one is named

    return names if names == ("joint_min_p",) else _known("joint test", names, JOINT)


def streaming_detectors(names: tuple[str, ...]) -> tuple[str, ...]:
    """Classical streaming detectors by name; the default is none."""
    if not names:
        return names
    from detectors.streaming.catalog import CLASSICAL, ONLINE

    return _known("streaming detector", names, (*CLASSICAL, ONLINE))


def of_errors(names: Iterable[str]) -> tuple[str, ...]:
    """Those among classical detectors that look at a model's errors, and so need labels."""
    if not (names := tuple(names)):
        return names
    from detectors.streaming.catalog import ERRORS

    return tuple(name for name in names if name in ERRORS)


_OF_TWO = ("true_negative", "false_negative", "false_positive", "true_positive")
"""Names of the values of two classes: answered 0 and then 1, each by truth."""


def _values(given: object) -> object:
    """A square of finite numbers, of either form."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        for key in given:
            if key not in _OF_TWO:
                raise ValueError(unknown("key", str(key), _OF_TWO))
        flat = [given.get(key, 0.0) for key in _OF_TWO]
        given = [flat[:2], flat[2:]]
    rows = [row if _is_list(row) else () for row in given] if _is_list(given) else []
    if len(rows) < 2 or any(len(row) != len(rows) or not all(map(_finite, row)) for row in rows):
        raise ValueError(
            "must be {true_positive: 5, false_positive: -1} with 0 for what is not said, or a list for each class "
            "answered of as many numbers as there are classes, for example [[0, -10], [-1, 5]]"
        )
    return tuple(tuple(row) for row in rows)


def _is_list(given: object) -> TypeGuard[Sequence[object]]:
    return isinstance(given, (list, tuple))


def _finite(one: object) -> bool:
    return isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one)


def _zone(name: str) -> str:
    """A time zone that this machine knows."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found is a KeyError
        raise ValueError(f"{name!r} is no time zone; use a name such as UTC or Europe/Berlin") from None
    return name


class Columns(Strict):
    """Roles of columns; what is not named is a feature whose kind is inferred."""

    time: str | None = Field(default=None, description="event time of a row")
    id: str | None = Field(default=None, description="request id")
    client: str | None = Field(default=None, description="who asked")
    prediction: str | None = Field(default=None, description="the model's answer")
    score: str | None = Field(default=None, description="the model's score")
    probabilities: str | None = Field(default=None, description="vector of the probabilities of all classes")
    logits: str | None = Field(default=None, description="vector of the logits of all classes")
    classes: Names = Field(default=(), description="names of the classes in the order of the probabilities")
    quantile: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="which quantile of the truth a predicted number is; the median unless given",
    )
    lower: str | None = Field(default=None, description="lower end of the prediction's interval")
    upper: str | None = Field(default=None, description="upper end of the prediction's interval")
    set: str | None = Field(default=None, description="list of the classes in the prediction's conformal set")
    query: str | None = Field(default=None, description="what the row is ranked for by its score; rows of one query")
    places: int = Field(default=0, ge=0, description="how many places of a ranking count; 0: all")
    label: str | None = Field(default=None, description="the truth, where it is known; of a ranking the relevance")
    source: str | None = Field(default=None, description="who gave the label")
    version: str | None = Field(default=None, description="version of the model")
    artefact: str | None = Field(default=None, description="digest of the model's files")
    digest: str | None = Field(default=None, description="keyed hash of the model's input, if senders compute one")
    latency: str | None = Field(default=None, description="how long the answer took")
    image: str | None = Field(default=None, description="vector column that is an image, row by row")
    image_shape: tuple[int, ...] = Field(default=(), description="height, width and channels of the image")
    segments: Names = Field(default=(), description="columns whose values get streams of their own")
    embeddings: Names = Field(default=(), description="vector columns")
    categorical: Names = Field(default=(), description="columns to take for categories")
    numeric: Names = Field(default=(), description="columns to take for numbers")
    ignore: Names = Field(default=(), description="columns to leave out")
    importance: Mapping[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={},
        description="performance that a column's shift costs, per probability mass that has moved; 0: none, it never "
        "pages. Other columns are measured, where labels are known",
    )

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """A column plays one part; only a segment may be given a kind too."""
        parts: dict[str, str] = {}
        for role in (role for role in cls.model_fields if role not in NO_COLUMNS):
            given = raw.get(role)
            names = given if isinstance(given, (list, tuple)) else [given]
            for name in (name for name in names if isinstance(name, str)):
                first = parts.setdefault(name, role)
                if first != role and (first, role) not in _TOGETHER:
                    yield (role,), f'column "{name}" is named under {first} already; keep one of the two'

        yield from _answer_faults(raw)
        classes = raw.get("classes")
        if isinstance(classes, (list, tuple)) and len({str(one) for one in classes}) < len(classes):
            yield ("classes",), "a class is named twice; name each once, in the order of the probabilities"
        shape = raw.get("image_shape")
        if shape and not (
            isinstance(shape, (list, tuple)) and len(shape) == 3 and all(_positive(one) for one in shape)
        ):
            yield ("image_shape",), "must be [height, width, channels], for example [28, 28, 1]"
        if bool(raw.get("image")) != bool(raw.get("image_shape")):
            given, lacks = ("image", "image_shape") if raw.get("image") else ("image_shape", "image")
            yield (given,), f"needs columns.{lacks} beside it: the vector's column, and its [height, width, channels]"


_NEEDS: Final = (
    ("lower", "upper", "the other end of the interval"),
    ("upper", "lower", "the other end of the interval"),
    ("lower", "prediction", "the number that the interval is about"),
    ("quantile", "prediction", "the number that is a quantile"),
    ("query", "score", "by which rows are ranked"),
    ("places", "query", "the rankings whose places count"),
)
_EXCLUDED: Final = (("query", "probabilities"), ("query", "logits"), ("query", "set"), ("query", "lower"))


def _answer_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """Columns that say more about an answer need it, and belong to one kind of model."""
    for key, needed, why in _NEEDS:
        if raw.get(key) and not raw.get(needed):
            yield (key,), f"needs columns.{needed} beside it: {why}"
    for key, other in _EXCLUDED:
        if raw.get(key) and raw.get(other):
            yield (key,), f"a ranking has no {other}; remove columns.{other} or columns.{key}"


def _positive(value: object) -> bool:
    return isinstance(value, int) and value > 0


_KINDS = ("categorical", "numeric")
_TOGETHER = {(role, kind) for role in ("segments", "prediction", "score", "label", "lower", "upper") for kind in _KINDS}


class Pane(Strict):
    """How rows are cut into panes: by event time or by count."""

    every: Duration | None = Field(default=None, ge=0.1, description='length in event time, such as "60s"')
    rows: int | None = Field(default=None, ge=1, description="number of rows")
    lateness: Duration | None = Field(default=None, ge=0, description="how long a pane waits for late rows")

    @property
    def wait(self) -> float:
        """Lateness in seconds: as given, or the pane's own length."""
        return self.lateness if self.lateness is not None else self.every or 0.0

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """Exactly one way of cutting."""
        given = [key for key in ("every", "rows") if raw.get(key) is not None]
        if len(given) != 1:
            problem = "every and rows are both given" if given else "neither every nor rows is given"
            yield (), f'{problem}; say exactly one of {{every: "60s"}} and {{rows: 200}}'
        if "rows" in given and raw.get("lateness") is not None:
            yield ("lateness",), "has no meaning for a pane counted in rows; remove it or use every"


class Window(Strict):
    """How many panes are looked at together."""

    panes: int = Field(default=60, ge=1, le=100_000, description="number of panes merged into a window")


class Alarms(Strict):
    """The promise: how often a false alarm is allowed, and which shift is worth one."""

    false_alarms: BudgetText = Field(default=parse("1 per 90d"), description='budget of pages, such as "1 per 90d"')
    smallest_shift: float = Field(default=0.05, ge=0, lt=1, description="probability mass that must have moved")
    smallest_fault: float = Field(default=0.01, ge=0, lt=1, description="rise of a fault rate that matters")
    false_tickets: BudgetText | None = Field(
        default=None, description="budget of tickets; like false_alarms unless given"
    )
    hold: int | None = Field(default=None, ge=0, description="panes of quiet after an alarm; one window unless given")


class Joint(Strict):
    """Joint detection over all columns, the scores and each embedding."""

    enabled: bool = Field(default=True, description="look at columns together, at scores and at embeddings")
    rows: int = Field(default=4096, ge=256, le=1_000_000, description="rows of a window that joint tests look at")
    tests: Annotated[Names, AfterValidator(_joint_tests)] = Field(
        default=("joint_min_p",), description="window tests of the joint layer, by name"
    )


class Security(Strict):
    """What people do to a model: queries and their senders, single odd rows, and labels that do not belong."""

    enabled: bool | None = Field(
        default=None,
        description="look at single rows, at queries and their senders, and at labels; unless given, where columns "
        "name a sender, a digest, a label, an image, an embedding, probabilities or logits",
    )
    queries: int = Field(
        default=20_000, ge=0, le=1_000_000, description="newest queries kept to look for near-duplicates"
    )
    clients: int = Field(default=10_000, ge=10, le=1_000_000, description="senders kept")
    rows_per_second: int = Field(
        default=1_000, ge=1, description="rows a second that are looked at one by one; of more, a sample of senders"
    )
    row_scores: bool | None = Field(
        default=None,
        description="test the rows' scores together as a joint view; unless given, where the log carries vectors",
    )
    prada: bool = Field(default=False, description="run PRADA as well, as evidence beside others of a stolen model")
    fingerprints: bool = Field(
        default=False, description="compare hashed windows of inputs as well, as evidence beside near-duplicates"
    )
    releases: Names = Field(default=(), description="versions of the model that were announced; others are news")
    training: bool = Field(
        default=False, description="the reference is what the model was trained on: tell who asks about its rows"
    )
    client_names: Literal["hashed", "plain"] = Field(
        default="hashed", description="how senders are called in findings and metrics: hashed or plain"
    )
    probes: Probes | None = Field(default=None, description="ask the model itself about moved copies of a few rows")
    shown_clients: int = Field(default=10, ge=0, le=100, description="suspects with series of their own at most")


class Labels(Strict):
    """Labels that come late: how many predictions wait for theirs, and how long."""

    rows: int = Field(
        default=1_000_000,
        ge=0,
        le=50_000_000,
        description="predictions with an id that wait for their labels, at most; 0: labels are joined to none",
    )
    hours: float = Field(default=720.0, gt=0, le=24 * 3660, description="how long a prediction waits for its label")
    smallest_loss: float = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="loss of performance that matters: points of metrics between 0 and 1, else a share of the value",
    )
    least_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of predictions that must have a label for their figures to be held against the reference; "
        "less where labelled rows are drawn by chance, not for what was answered",
    )

    coverage: float = Field(
        default=0.95, gt=0, lt=1, description="share of truths that intervals and sets were made to hold"
    )
    values: Annotated[tuple[tuple[float, ...], ...] | None, BeforeValidator(_values)] = Field(
        default=None,
        description="what an answer is worth by truth, higher is better: {true_positive: 5, false_positive: -1, ...}, "
        "or a list for each class answered, in the order of the classes, of values by true class",
    )


class Season(Strict):
    """References by the time of the week."""

    by: TIMES = Field(
        default="none", description="none, hour_of_day (24 references), weekday_hour (48) or hour_of_week (168)"
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(default="UTC", description="time zone of the hours")


class Moving(Strict):
    """A reference that moves: the last panes before the window, instead of the fixed one."""

    panes: int = Field(default=0, ge=0, le=1_000_000, description="panes of the moving reference; 0: it stays fixed")
    steps: int = Field(
        default=1, ge=1, le=100, description="parts in which it moves; 1: the previous period as a whole"
    )
