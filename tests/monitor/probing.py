"""What the tests of the prober share: settings that send at once, rows, and one probe at a time."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import numpy as np

from monitor.clock import ManualClock
from monitor.probes.prober import Candidate, Prober
from monitor.probes.results import RANDOM, Result
from monitor.probes.settings import Settings, Tensor
from tests.monitor.endpoint import Document, Endpoint, Handler

ROW = {"age": 0.4, "income": 0.3, "debt": -0.1, "id": 17}
EDGE = {"age": 0.01, "income": -0.01, "debt": 0.0}


def settings_for(endpoint: Endpoint, **changes: Any) -> Settings:
    plain = Settings(
        url=endpoint.url,
        model="credit",
        allowed=("credit",),
        inputs=(Tensor("input-0", ("age", "income", "debt")),),
        scales={"age": 1.0, "income": 2.0},
        rows_per_second=1e6,
        share=1.0,
        timeout=0.5,
        slow=1e6,  # a loaded machine slows answers down as well
        key=b"k" * 32,
    )
    return dataclasses.replace(plain, **changes)


def prober_for(endpoint: Endpoint, clock: ManualClock | None = None, **changes: Any) -> Prober:
    """A prober that has been there for a second, in which it saved up what it may ask."""
    clock = clock or ManualClock(1e9)
    made = Prober(settings_for(endpoint, **changes), clock, np.random.default_rng(0))
    made.step()
    clock.advance(1.0)
    return made


def probed(prober: Prober, values: dict[str, Any], number: int = 5, why: str = RANDOM, client: int = 0) -> list[Result]:
    prober.offer([Candidate(values, number, client, why)], 10_000)
    prober.step()
    return prober.results()


def changed(**changes: Any) -> Any:
    def behave(handler: Handler, body: Document) -> None:
        document = handler.server.infer(body)
        output = {**document["outputs"][0], **changes.pop("output", {})}
        handler.send(json.dumps({**document, "outputs": [output], **changes}).encode())

    return behave


def raw(body: bytes, status: int = 200, **headers: str) -> Any:
    return lambda handler, _: handler.send(body, status, **headers)


def late(seconds: float) -> Any:
    return lambda _handler, _body: time.sleep(seconds)
