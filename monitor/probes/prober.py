"""Probes rows on a thread of its own: never in the way of a request, within limits, silent when the endpoint is unwell.

Nothing that happens here reaches the engine but results. Every probe is logged, without a value of the row. A radius
(`detectors.smoothing.CERTIFIES` says what it is worth) is in the scales of the columns that have one and are floats;
in the others the copies do not differ.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from detectors import smoothing
from detectors.types import FloatArray
from monitor import log
from monitor.clock import Clock
from monitor.outgoing import CallError
from monitor.probes import protocol
from monitor.probes.client import Client, Marks
from monitor.probes.limits import Allowance, Breaker
from monitor.probes.protocol import Answer, BadAnswerError, Metadata, UnfitError
from monitor.probes.results import GOLDEN, RANDOM, Result
from monitor.probes.settings import FLOATS, Settings, check

WAITING: Final = 256
"""Rows of each kind that wait to be probed; more are left out and counted."""
KEPT: Final = 1_000
"""Results that nobody has fetched; the oldest go first."""
READY_SECONDS: Final = 30.0
METADATA_SECONDS: Final = 3_600.0
STOPPED: Final = "stopped"
"""Reason of a probe that was given up between its calls; no failure of the endpoint."""
_LONGEST_NAP = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that may be probed: its ``values`` by column, number in the stream, sender's hash, and why."""

    values: Mapping[str, Any]
    number: int
    client: int = 0
    why: str = RANDOM


class Counts(NamedTuple):
    """What has happened so far; ``failures`` by reason, ``open``: the endpoint is being left alone."""

    offered: int
    left_out: int
    unfit: int
    probed: int
    rows_sent: int
    calls: int
    failures: Mapping[str, int]
    open: bool
    waiting: int


class Prober:
    """One model's prober. `offer`, `results` and `counts` are for the engine's thread and never wait for a call."""

    def __init__(self, settings: Settings, clock: Clock, rng: np.random.Generator) -> None:
        """Check the settings (`ConfigError`); nothing is asked before `start`."""
        check(settings)
        self.marks = Marks(settings)
        self._settings, self._clock, self._rng = settings, clock, rng
        self._client = Client(settings, self.marks)
        burst = max(settings.cost, math.ceil(settings.rows_per_second))
        self._allowance = Allowance(settings.rows_per_second, burst, settings.rows_per_day, settings.share)
        self._breaker = Breaker(settings.slow)
        self._queues: dict[str, deque[Candidate]] = {kind: deque() for kind in ("suspect", RANDOM, GOLDEN)}
        self._turn: deque[str] = deque(self._queues)
        self._results: deque[Result] = deque(maxlen=KEPT)
        self._counter: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._ready = self._described = -math.inf
        self._metadata = Metadata(together=False, faults=())
        self._log = log.get("probes")

    def offer(self, candidates: Sequence[Candidate], seen: int) -> None:
        """Put rows forward, of ``seen`` rows of traffic since the last call; what does not fit is left out."""
        with self._lock:
            self._allowance.observe(seen)
            for one in candidates:
                queue = self._queues["suspect" if one.why not in self._queues else one.why]
                self._counter["offered"] += 1
                if len(queue) < WAITING:
                    queue.append(one)
                else:
                    self._counter["left_out"] += 1
        if candidates:
            self._wake.set()

    def results(self) -> list[Result]:
        """What has been found since the last call, in order."""
        with self._lock:
            found = list(self._results)
            self._results.clear()
        return found

    def counts(self) -> Counts:
        """What has happened so far."""
        with self._lock:
            count = self._counter
            waiting = sum(map(len, self._queues.values()))
            return Counts(
                count["offered"], count["left_out"], count["unfit"], count["probed"], count["rows"], count["calls"],
                dict(self._failures), self._breaker.open, waiting,
            )  # fmt: skip

    @property
    def about(self) -> str:
        """What is asked, and how: results of another are not to be compared with this one's."""
        one = self._settings
        return f"{one.url} {one.model} {one.version} {one.sigma:g} {one.draws}"

    @property
    def spent(self) -> tuple[int, int]:
        """The day since the epoch and the rows that were sent in it, for `resume`."""
        with self._lock:
            return self._allowance.spent

    def resume(self, spent: tuple[int, int]) -> None:
        """Count what another prober of this model `spent`, before a restart or a reload, towards the day's cap."""
        with self._lock:
            self._allowance.resume(spent, self._clock.now())

    def start(self) -> None:
        """Begin to probe, on a thread of its own."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="driftwarden-probes", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Finish the call that is under way, at most `Settings.timeout`, and end the thread."""
        if self._thread is not None:
            self._stopping.set()
            self._wake.set()
            self._thread.join(self._settings.timeout + _LONGEST_NAP)
            self._thread = None

    def step(self) -> float:
        """Probe one row if one waits and limits allow; seconds until it is worth trying again."""
        with self._lock:
            wait = self._wait()
            candidate = self._next() if wait == 0 else None
        if candidate is None:
            return max(wait, 0.01) if wait else _LONGEST_NAP
        self._probe(candidate)
        return 0.0

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                wait = self.step()
            except Exception as error:  # noqa: BLE001 - a fault here must not end the probing, nor be silent
                self._fail("fault", repr(error))
                wait = _LONGEST_NAP
            if wait:
                self._wake.wait(min(wait, _LONGEST_NAP))

    def _wait(self) -> float:
        """Seconds until the dearest probe may be sent; 0 for now."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        paused = self._breaker.wait(monotonic)
        return paused or self._allowance.wait(self._settings.cost, now, monotonic)

    def _next(self) -> Candidate | None:
        """The next row that waits, each kind in turn: suspects cannot crowd out the random sample."""
        for _ in range(len(self._turn)):
            queue = self._queues[self._turn[0]]
            self._turn.rotate(-1)
            if queue:
                return queue.popleft()
        return None

    def _probe(self, candidate: Candidate) -> None:
        """Ask about one row; a failure is counted and the row forgotten, it is not tried again."""
        settings, begun = self._settings, self._clock.monotonic()
        try:
            tensors = [protocol.values_of(tensor, candidate.values) for tensor in settings.inputs]
            self._prepare()
            original = self._ask([tensors])
            result = self._moved(candidate, tensors, original)
        except UnfitError as error:
            with self._lock:
                self._counter["unfit"] += 1
            self._log.debug("row not probed", model=settings.model, row=candidate.number, why=str(error))
            return
        except (CallError, BadAnswerError) as error:
            if error.reason != STOPPED:
                with self._lock:
                    self._breaker.failed(self._clock.monotonic(), getattr(error, "retry_after", 0.0))
            self._fail(error.reason, str(error))
            return
        result = result._replace(time=self._clock.now(), seconds=self._clock.monotonic() - begun)
        with self._lock:
            self._counter["probed"] += 1
            self._results.append(result)
        self._log.info(
            "probed", model=settings.model, version=result.version, row=candidate.number, why=candidate.why,
            copies=result.copies, kept=result.kept, seconds=round(result.seconds, 4),
        )  # fmt: skip

    def _fail(self, reason: str, why: str) -> None:
        with self._lock:
            self._failures[reason] += 1
        self._log.warning("probe failed", model=self._settings.model, reason=reason, why=why)

    def _prepare(self) -> None:
        """Ask whether the model is ready, and now and then what it takes."""
        monotonic = self._clock.monotonic()
        if monotonic - self._ready > READY_SECONDS:
            try:
                self._client.get("/ready")
            except CallError as error:
                reason = "not_ready" if error.reason == "status" else error.reason
                raise CallError(reason, str(error), error.retry_after) from None
            self._ready = monotonic
        if monotonic - self._described > METADATA_SECONDS:
            said = protocol.metadata(self._settings, self._client.get("").body)
            if said.faults:
                raise BadAnswerError("mismatch", f"the model is not as configured: {'; '.join(said.faults)}")
            self._metadata, self._described = said, monotonic

    def _ask(self, rows: list[list[list[Any]]]) -> Answer:
        """One call for ``rows`` of values by input."""
        name, settings = self.marks.new(), self._settings
        body = protocol.request(settings, [[row[i] for row in rows] for i in range(len(settings.inputs))], name)
        with self._lock:
            self._allowance.spend(len(rows))
            self._counter["calls"] += 1
            self._counter["rows"] += len(rows)
        reply = self._client.post("/infer", body)
        answer = protocol.answer(settings, reply.body, len(rows), name)
        with self._lock:
            self._breaker.answered(self._clock.monotonic(), len(rows), reply.seconds)
        return answer

    def _moved(self, candidate: Candidate, tensors: list[list[Any]], original: Answer) -> Result:
        """Ask about moved copies, or, for a row with a known answer, about nothing more."""
        settings, nothing = self._settings, float("nan")
        found = Result(
            candidate.number, candidate.client, candidate.why, 0.0, 0.0, original.version or settings.version,
            original.probabilities[0], original.names, 0, nothing, nothing, nothing, nothing,
        )  # fmt: skip
        if candidate.why == GOLDEN:
            return found
        copies = self._images(tensors) if settings.image else self._noisy(tensors, settings.draws)
        before, after, _ = _aligned(original, self._all(copies))
        stable = smoothing.stability(before, after[:, None])
        found = found._replace(
            copies=len(after),
            kept=float(stable.kept[0]),
            change=float(stable.change[0]),
            worst=float(stable.worst[0]),
        )
        return found if settings.image or not settings.counting else found._replace(radius=self._radius(tensors))

    def _radius(self, tensors: list[list[Any]]) -> float:
        """Radius in columns' scales; 0 where the smoothed model abstains."""
        settings = self._settings
        choosing, counting = (
            self._all(self._noisy(tensors, draws)) for draws in (settings.choosing, settings.counting)
        )
        names = sorted({name for one in (*choosing, *counting) for name in one.names})
        votes = [_votes(answers, names) for answers in (choosing, counting)]
        return smoothing.certify(votes[0], votes[1], settings.sigma, settings.alpha).radius

    def _all(self, copies: Iterator[list[list[Any]]]) -> list[Answer]:
        """Answers to copies, together as far as the model takes them; stops between calls when it must."""
        rows = list(copies)
        size = min(self._settings.rows_per_call, len(rows)) if self._metadata.together else 1
        answers = []
        for start in range(0, len(rows), max(size, 1)):
            with self._lock:
                shut = self._breaker.wait(self._clock.monotonic()) > 0
            if self._stopping.is_set() or shut:
                raise CallError(STOPPED, "the endpoint slowed down, or the agent stops")
            answers.append(self._ask(rows[start : start + size]))
        return answers

    def _noisy(self, tensors: list[list[Any]], draws: int) -> Iterator[list[list[Any]]]:
        """Copies with noise of ``sigma`` scales in the columns that have one."""
        settings = self._settings
        for _ in range(draws):
            copy = []
            for tensor, values in zip(settings.inputs, tensors, strict=True):
                each = len(values) // len(tensor.columns) if tensor.datatype in FLOATS else 0
                scale = np.repeat([settings.scales.get(column, 0.0) for column in tensor.columns], each)
                if scale.any():
                    moved = smoothing.noisy(np.array([values]), settings.sigma * scale, 1, self._rng)
                    copy.append(moved[0, 0].tolist())
                else:
                    copy.append(values)
            yield copy

    def _images(self, tensors: list[list[Any]]) -> Iterator[list[list[Any]]]:
        """Small moves of the image; what stands beside it stays."""
        settings = self._settings
        place = next(i for i, tensor in enumerate(settings.inputs) if settings.image in tensor.columns)
        image = np.array(tensors[place], np.float32).reshape(1, *settings.image_shape)
        for moved in smoothing.moved(image):
            yield [moved.ravel().tolist() if i == place else values for i, values in enumerate(tensors)]


def _aligned(original: Answer, copies: list[Answer]) -> tuple[FloatArray, FloatArray, list[str]]:
    """Probabilities of the original ``(1, C)`` and of all copies ``(k, C)`` over the same classes."""
    names = sorted({name for one in (original, *copies) for name in one.names})
    return _over(original, names), np.concatenate([_over(one, names) for one in copies]), names


def _over(answer: Answer, names: Sequence[str]) -> FloatArray:
    p = np.zeros((len(answer.probabilities), len(names)))
    p[:, [names.index(name) for name in answer.names]] = answer.probabilities
    return p


def _votes(answers: list[Answer], names: Sequence[str]) -> Any:
    """How many copies are answered by each class."""
    every = np.concatenate([_over(one, names) for one in answers])
    return np.bincount(every.argmax(axis=1), minlength=len(names))
