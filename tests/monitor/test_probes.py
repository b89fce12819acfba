"""The prober against a real server: what it asks, how much, and what its results mean."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from monitor.clock import ManualClock, SystemClock
from monitor.errors import ConfigError
from monitor.probes.client import HEADER, ID_PREFIX, Marks
from monitor.probes.prober import STOPPED, WAITING, Candidate, Prober
from monitor.probes.results import GOLDEN, RANDOM, Result
from monitor.probes.settings import Tensor, check
from tests.monitor.endpoint import Document, Endpoint, Handler, running
from tests.monitor.probing import EDGE, ROW, late, probed, prober_for, raw, settings_for


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running(Endpoint()) as server:
        yield server


# What it asks.


def test_a_row_and_its_copies_are_asked_as_the_protocol_says(endpoint: Endpoint) -> None:
    found = probed(prober_for(endpoint), ROW)
    assert endpoint.paths == ["/v2/models/credit/ready", "/v2/models/credit", *["/v2/models/credit/infer"] * 2]
    first, copies = endpoint.bodies
    assert first["inputs"] == [{"name": "input-0", "shape": [1, 3], "datatype": "FP32", "data": [0.4, 0.3, -0.1]}]
    assert copies["inputs"][0]["shape"] == [16, 3]
    data = np.array(copies["inputs"][0]["data"]).reshape(16, 3)
    assert data[:, 0].std() == pytest.approx(0.05, rel=0.5)
    assert data[:, 1].std() == pytest.approx(0.10, rel=0.5)
    assert (data[:, 2] == -0.1).all()  # no scale: not moved
    assert [(one.number, one.copies, one.kept, one.version) for one in found] == [(5, 16, 1.0, "3")]
    assert found[0].probabilities.tolist() == pytest.approx([1 / (1 + np.exp(2.4)), 1 / (1 + np.exp(-2.4))])


def test_a_model_that_takes_one_row_at_a_time_is_asked_so(endpoint: Endpoint) -> None:
    endpoint.together = False
    found = probed(prober_for(endpoint, draws=4), ROW)
    assert [body["inputs"][0]["shape"] for body in endpoint.bodies] == [[1, 3]] * 5
    assert found[0].copies == 4


def test_a_row_at_the_boundary_is_told_from_one_far_from_it(endpoint: Endpoint) -> None:
    prober = prober_for(endpoint, sigma=0.1)
    far, edge = probed(prober, ROW)[0], probed(prober, EDGE)[0]
    assert edge.kept < 0.9 < far.kept
    assert edge.change > 2 * far.change
    assert edge.worst >= edge.change


def test_a_radius_is_certified_with_its_bound_only_if_asked_for(endpoint: Endpoint) -> None:
    prober = prober_for(endpoint, choosing=20, counting=100, rows_per_day=10_000)
    far, edge = probed(prober, {**ROW, "age": 9.0})[0], probed(prober, EDGE)[0]
    assert far.radius == pytest.approx(0.05 * 1.5, abs=0.001)  # all of 100 draws agree
    assert edge.radius < far.radius / 2
    assert np.isnan(probed(prober_for(endpoint), ROW)[0].radius)


def test_images_are_moved_and_columns_beside_them_stay(endpoint: Endpoint) -> None:
    image = np.random.default_rng(1).normal(0, 0.3, (4, 4, 1)).astype(float)
    endpoint.described = {"name": "credit"}
    inputs = (Tensor("pixels", ("image",), shape=(4, 4, 1)), Tensor("site", ("site",), "BYTES"))
    prober = prober_for(endpoint, inputs=inputs, image="image", image_shape=(4, 4, 1), scales={})
    found = probed(prober, {"image": image.ravel().tolist(), "site": "north"})
    assert found[0].copies == 8
    assert len(endpoint.bodies) == 9
    assert {body["inputs"][1]["data"][0] for body in endpoint.bodies} == {"north"}
    assert endpoint.bodies[0]["inputs"][1]["shape"] == [1]
    assert endpoint.bodies[1]["inputs"][0]["data"] != endpoint.bodies[0]["inputs"][0]["data"]


def test_a_golden_row_is_asked_once_and_as_it_is(endpoint: Endpoint) -> None:
    found = probed(prober_for(endpoint), ROW, why=GOLDEN)
    assert len(endpoint.bodies) == 1
    assert (found[0].why, found[0].copies) == (GOLDEN, 0)


def test_requests_are_ours_by_name_and_nobody_can_forge_the_name(endpoint: Endpoint) -> None:
    prober = prober_for(endpoint, token="hush")
    probed(prober, ROW)
    header, name = endpoint.headers[0], endpoint.bodies[0]["id"]
    assert header["Authorization"] == "Bearer hush"
    assert header[HEADER] == "1"
    marks = prober.marks
    assert marks.own(header["X-Client-Id"], None)
    assert marks.own(None, name)
    assert name.startswith(ID_PREFIX)
    forged = [("driftwarden-probe", None), (None, ID_PREFIX + "00-00"), (None, name[:-1]), (None, ""), ("", None)]
    assert not any(marks.own(*one) for one in forged)
    assert not Marks(settings_for(endpoint, key=b"other" * 8)).own(header["X-Client-Id"], name)
    assert Marks(settings_for(endpoint)).own(header["X-Client-Id"], name)  # after a restart


def test_every_probe_is_logged_without_a_value_of_the_row(endpoint: Endpoint) -> None:
    with capture_logs() as lines:
        prober = prober_for(endpoint, token="hush")
        probed(prober, {**ROW, "age": 0.4321}, number=77)
        endpoint.behave = raw(b'{"secret": 0.4321}', 500)
        probed(prober, {**ROW, "age": 0.4321}, number=78)
    assert [(line["event"], line["log_level"]) for line in lines] == [("probed", "info"), ("probe failed", "warning")]
    assert lines[0]["row"] == 77
    assert all(word not in str(lines) for word in ("4321", "hush", "secret"))


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "text", [1.0, 2.0]])
def test_a_row_that_cannot_be_sent_is_not(endpoint: Endpoint, value: Any) -> None:
    prober = prober_for(endpoint)
    assert probed(prober, {**ROW, "age": value}) == []
    assert (prober.counts().unfit, endpoint.bodies) == (1, [])


# How much it asks.


def test_rows_are_sent_at_the_configured_rate_and_share(endpoint: Endpoint) -> None:
    clock = ManualClock(1e9)
    prober = prober_for(endpoint, clock, rows_per_second=1.0, share=0.01)
    prober.offer([Candidate(ROW, i) for i in range(5)], 0)
    prober.step()
    assert prober.counts().rows_sent == 0  # no traffic seen, nothing sent
    prober.offer([], 1_700)
    assert prober.step() == pytest.approx(16.0)  # nothing is saved up at first: of 17 one is there after a second
    clock.advance(16.0)
    prober.step()
    assert prober.counts().rows_sent == 17
    prober.offer([], 100_000)
    assert prober.step() == pytest.approx(17.0)
    clock.advance(17.0)
    prober.step()
    assert prober.counts().rows_sent == 34


def test_the_day_s_cap_holds_until_the_next_day_and_a_clock_set_back_does_not_lift_it(endpoint: Endpoint) -> None:
    clock = ManualClock(86_400.0 * 20_000 + 80_000)
    prober = prober_for(endpoint, clock, rows_per_day=40)
    for _ in range(5):
        probed(prober, ROW)
    assert prober.counts().rows_sent == 34
    clock.jump(86_400.0 * 19_999)
    probed(prober, ROW)
    assert prober.counts().rows_sent == 34
    clock.jump(86_400.0 * 20_001 + 10)
    probed(prober, ROW)
    assert prober.counts().rows_sent == 51


def test_who_is_started_again_and_again_has_one_day_s_cap(endpoint: Endpoint) -> None:
    clock = ManualClock(86_400.0 * 20_000 + 80_000)
    spent, sent = (0, 0), 0
    for _ in range(6):
        prober = prober_for(endpoint, clock, rows_per_day=40)
        prober.resume(spent)
        probed(prober, ROW)
        spent, sent = prober.spent, sent + prober.counts().rows_sent
    assert (spent, sent) == ((20_000, 34), 34)
    clock.jump(86_400.0 * 20_001 + 10)
    late = prober_for(endpoint, clock, rows_per_day=40)
    late.resume(spent)
    probed(late, ROW)
    assert late.spent == (20_001, 17)
    early = prober_for(endpoint, ManualClock(86_400.0 * 20_000), rows_per_day=40)
    early.resume((30_000, 34))  # the clock was wrong then: this day is lost, and not ten thousand of them
    assert early.spent == (20_000, 34)


def test_nothing_is_asked_at_once_after_a_start(endpoint: Endpoint) -> None:
    prober = Prober(settings_for(endpoint, rows_per_second=1.0), ManualClock(1e9), np.random.default_rng(0))
    prober.offer([Candidate(ROW, 1)], 10_000)
    assert prober.step() == pytest.approx(17.0)
    assert endpoint.paths == []


def test_failures_open_the_breaker_and_pauses_grow(endpoint: Endpoint) -> None:
    clock = ManualClock(1e9)
    endpoint.behave = raw(b"{}", 500)
    prober = prober_for(endpoint, clock)
    for _ in range(6):
        probed(prober, ROW)
    assert (len(endpoint.bodies), prober.counts().open) == (3, True)
    clock.advance(31)
    for _ in range(3):
        probed(prober, ROW)
    assert len(endpoint.bodies) == 4  # one try
    clock.advance(31)
    probed(prober, ROW)
    assert len(endpoint.bodies) == 4  # the second pause is twice as long
    clock.advance(31)
    endpoint.behave = None
    assert len(probed(prober, ROW)) == 1
    assert not prober.counts().open


def test_an_endpoint_that_asks_for_a_pause_gets_it_at_once(endpoint: Endpoint) -> None:
    clock = ManualClock(1e9)
    endpoint.behave = raw(b"{}", 429, Retry_After="600")
    prober = prober_for(endpoint, clock)
    probed(prober, ROW)
    endpoint.behave = None
    clock.advance(590)
    assert probed(prober, ROW) == []
    clock.advance(11)
    assert len(probed(prober, ROW)) == 1


def test_it_backs_off_when_the_endpoint_slows_down(endpoint: Endpoint) -> None:
    prober = prober_for(endpoint, timeout=2.0, slow=10.0)
    for _ in range(17):
        probed(prober, ROW)
    assert prober.counts().probed == 17

    def slow(handler: Handler, body: Document) -> None:
        time.sleep(0.2)
        handler.send(json.dumps(handler.server.infer(body)).encode())

    endpoint.behave = slow
    for _ in range(4):
        probed(prober, ROW)
    counts = prober.counts()
    assert counts.open
    assert counts.probed < 20
    assert len(endpoint.bodies) == 34 + 3


def test_more_rows_than_can_wait_are_left_out_and_suspects_do_not_crowd_out_the_sample(endpoint: Endpoint) -> None:
    prober = prober_for(endpoint)
    prober.offer([Candidate(ROW, i, why="near_duplicates") for i in range(WAITING + 9)], 10**6)
    prober.offer([Candidate(ROW, 10_000)], 0)
    assert (prober.counts().left_out, prober.counts().waiting) == (9, WAITING + 1)
    prober.step()
    prober.step()
    assert [one.why for one in prober.results()] == ["near_duplicates", RANDOM]


def test_it_works_on_a_thread_of_its_own_and_offering_never_waits(endpoint: Endpoint) -> None:
    endpoint.behave = late(0.4)
    prober = Prober(settings_for(endpoint), SystemClock(), np.random.default_rng(0))
    prober.start()
    prober.start()
    begun = time.perf_counter()
    prober.offer([Candidate(ROW, i) for i in range(50)], 10**6)
    prober.results()
    assert time.perf_counter() - begun < 0.3
    endpoint.behave = None
    found: list[Result] = []
    deadline = time.monotonic() + 10
    while len(found) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
        found += prober.results()
    prober.stop()
    assert len(found) >= 5
    asked = len(endpoint.bodies)
    time.sleep(0.05)
    assert len(endpoint.bodies) == asked
    prober.stop()


def test_stopping_in_the_middle_of_a_probe_is_no_failure_of_the_endpoint(endpoint: Endpoint) -> None:
    endpoint.together = False
    prober = prober_for(endpoint)

    def behave(handler: Handler, body: Document) -> None:
        if len(endpoint.bodies) == 3:
            prober._stopping.set()  # as `stop` does first
        handler.send(json.dumps(handler.server.infer(body)).encode())

    endpoint.behave = behave
    assert probed(prober, ROW) == []
    assert prober.counts().failures == {STOPPED: 1}
    assert not prober.counts().open


# Configuration.


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"allowed": ()}, "allowed"),
        ({"url": "ftp://127.0.0.1/"}, "url"),
        ({"url": "http://[::1"}, "url"),
        ({"url": "http://me:pass@127.0.0.1:1"}, "password"),
        ({"url": "http://models.example.org", "token": "hush"}, "clear text"),
        ({"url": "http://127.0.0.1/?x=1"}, "url"),
        ({"inputs": ()}, "inputs"),
        ({"inputs": (Tensor("x", ("age",), "FP31"),)}, "FP31"),
        ({"scales": {}}, "scales"),
        ({"inputs": (Tensor("x", ("age", "income"), "INT64"),)}, "scales"),
        ({"image": "picture", "image_shape": (2, 2, 1)}, "image"),
        ({"rows_per_second": 0}, "rows_per_second"),
        ({"share": 2}, "share"),
        ({"rows_per_day": 5}, "rows_per_day"),
        ({"choosing": 10}, "radius"),
        ({"choosing": -1, "counting": -5}, "negative"),
        ({"draws": -1}, "negative"),
        ({"client_header": "X-Who\r\nX-More"}, "client_header"),
        ({"client_header": ""}, "client_header"),
        ({"inputs": (Tensor("x", ("age",), shape=(-1, 1)),)}, "below 1"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_fix(
    endpoint: Endpoint, changes: dict[str, Any], word: str
) -> None:
    with pytest.raises(ConfigError, match=word):
        check(settings_for(endpoint, **changes))


def test_secrets_are_in_no_print_and_names_cannot_leave_the_path(endpoint: Endpoint) -> None:
    settings = settings_for(endpoint, token="hush", model="../admin?x", version="1/2")
    assert "hush" not in repr(settings)
    assert "kkk" not in repr(settings)
    assert settings.path == "/v2/models/..%2Fadmin%3Fx/versions/1%2F2"


# What results mean.


def test_expected_miss_a_perturbation_made_to_hold_under_moves_is_not_told(endpoint: Endpoint) -> None:
    prober = prober_for(endpoint)
    deep = {"age": -3.0, "income": -3.0, "debt": 0.0}  # far on the wrong side: as stable as any honest row
    honest, attack = probed(prober, {"age": 3.0, "income": 3.0, "debt": 0.0})[0], probed(prober, deep)[0]
    assert attack.kept == honest.kept == 1.0
    assert attack.change < 1e-6
