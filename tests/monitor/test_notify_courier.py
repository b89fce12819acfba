"""Events on their way to a real receiver: in order, once, patiently, and past what cannot be brought."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier
from structlog.testing import capture_logs

from monitor.clock import SystemClock
from monitor.errors import StoreError
from monitor.notify.courier import POLL_SECONDS, Courier
from monitor.notify.sending import LONGEST_ASKED, LONGEST_PAUSE, Backoff
from monitor.store import Store
from tests.monitor.findings_bench import culprit
from tests.monitor.notify_bench import (
    ENVIRON,
    NOW,
    URL,
    Receiver,
    World,
    answer,
    break_off_after_yes,
    close_half_way,
    drip,
    go_on_for_ever,
    run,
    webhook,
)

# What is told.


def test_an_incident_is_told_from_its_opening_to_its_end(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver, token_env="TOKEN")
    one = world.open()
    world.do("acknowledge", {"finding": one.id})
    world.recover(one)
    run(courier)
    assert receiver.kinds() == ["finding.opened", "finding.acknowledged", "finding.recovered"]
    assert receiver.paths == ["/hook"] * 3
    assert {one["authorization"] for one in receiver.headers} == {"Bearer hush"}
    assert (courier.counts.sent, courier.counts.failures, courier.counts.waiting) == (3, 0, 0)


def test_a_user_s_password_is_the_token(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver, token_env="TOKEN", username="me")
    world.open()
    run(courier)
    assert receiver.headers[0]["authorization"] == "Basic bWU6aHVzaA=="


def test_the_bytes_that_arrive_are_those_that_were_signed(world: World, receiver: Receiver) -> None:
    courier = Courier(world.store, webhook(receiver, secret_env="KEYS"), URL, SystemClock())
    world.open(units=(culprit("gr\u00f6\u00dfe"),))
    run(courier)
    Verifier(ENVIRON["KEYS"]).verify(receiver.raw[0], receiver.headers[0])
    assert receiver.headers[0]["content-type"].startswith("application/cloudevents+json")


def test_pagerduty_s_key_goes_into_the_message_and_not_into_a_header(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver, format="pagerduty", token_env="TOKEN")
    world.open()
    run(courier)
    assert receiver.bodies[0]["routing_key"] == "hush"
    assert "authorization" not in receiver.headers[0]


def test_a_new_receiver_begins_at_the_end(world: World, receiver: Receiver) -> None:
    world.open()
    courier = world.courier(receiver)
    world.open(pane=9)
    run(courier)
    assert [body["sequence"][-2:] for body in receiver.bodies] == ["02"]


def test_three_hundred_findings_of_one_incident_are_one_message(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver)
    head = world.open()
    joined = [world.open(pane=6, severity="ticket", joins=head.id, units=(culprit(f"c{at}", at),)) for at in range(300)]
    run(courier)
    assert receiver.kinds() == ["finding.opened"]
    world.recover(head, *joined[:-1])
    run(courier)
    assert receiver.kinds() == ["finding.opened"]
    world.recover(joined[-1])
    run(courier)
    assert receiver.kinds() == ["finding.opened", "finding.recovered"]
    over = receiver.bodies[-1]
    assert over["subject"] == head.id
    assert over["data"]["finding"]["id"] == head.id


def test_an_incident_that_ends_at_once_ends_once_also_when_nobody_listened(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver, severities=["page"])
    head = world.open()
    joined = world.open(pane=6, severity="ticket", joins=head.id)
    world.recover(head, joined)
    receiver.script = [answer(503)]
    for _ in range(5):
        run(courier)
        world.clock.advance(10)
    assert receiver.kinds() == ["finding.opened", "finding.opened", "finding.recovered"]


def test_the_end_of_an_incident_is_told_again_after_a_failure(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver)
    head = world.open()
    joined = world.open(pane=6, joins=head.id)
    world.recover(head)
    run(courier)
    world.recover(joined)
    receiver.script = [answer(503), answer(503)]
    for _ in range(4):
        run(courier)
        world.clock.advance(10)
    assert receiver.kinds() == ["finding.opened", *["finding.recovered"] * 3]


def test_severities_and_models_choose(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver, severities=["page"], models=["n"])
    world.open()
    world.open(model="n", severity="ticket")
    page = world.open(model="n")
    run(courier)
    assert [body["subject"] for body in receiver.bodies] == [page.id]
    assert courier.counts.waiting == 0


@pytest.mark.parametrize(("form", "ends"), [("cloudevents", 1), ("pagerduty", 1), ("slack", 0)])
def test_a_muted_incident_is_opened_for_nobody_and_closed_for_machines(
    world: World, receiver: Receiver, form: str, ends: int
) -> None:
    token = {"token_env": "TOKEN"} if form == "pagerduty" else {}
    courier = world.courier(receiver, format=form, **token)
    world.do("mute", {"column": "a"}, NOW + 3600)
    one = world.open()
    run(courier)
    assert receiver.bodies == []
    world.recover(one)
    run(courier)
    assert len(receiver.bodies) == ends


def test_a_mute_that_runs_out_is_told_as_an_opening(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver)
    world.do("mute", {"column": "a"}, NOW + 60)
    world.open()
    world.clock.advance(61)
    world.book.interventions.forget(world.clock.now())
    world.book.look_at_mutes(world.clock.now())
    world.commit()
    run(courier)
    assert receiver.kinds() == ["finding.opened"]


def test_all_means_all(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver, all=True, interventions=True)
    world.do("mute", {"column": "a"}, NOW + 3600)
    head = world.open()
    world.open(pane=6, joins=head.id)
    world.recover(head)
    run(courier)
    assert receiver.kinds() == ["intervention.done", "finding.opened", "finding.opened", "finding.recovered"]


# Receivers that do not do as they should.


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (answer(500), "answers 500"),
        (answer(429), "answers 429"),
        (answer(408), "answers 408"),
        (answer(302, Location="http://127.0.0.1:1/"), "redirects (302)"),
        (close_half_way, "cannot be asked"),
        (drip, "no whole answer within"),
        (go_on_for_ever, "no whole answer within"),
    ],
)
def test_what_fails_is_tried_again_and_arrives(world: World, receiver: Receiver, behave: Any, why: str) -> None:
    courier = world.courier(receiver)
    world.open()
    receiver.script = [behave]
    with capture_logs() as lines:
        begun = time.perf_counter()
        wait = courier.step()
        assert time.perf_counter() - begun < 5
    assert 0 < wait <= POLL_SECONDS
    assert [line["why"] for line in lines if why in line["why"]]
    run(courier)
    assert len(receiver.bodies) == 1
    world.clock.advance(1.1)
    run(courier)
    assert len(receiver.bodies) == 2
    assert receiver.bodies[0]["id"] == receiver.bodies[1]["id"]
    assert (courier.counts.sent, courier.counts.failures, courier.counts.dropped) == (2, 1, 0)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_what_is_refused_is_given_up_and_the_next_arrives(world: World, receiver: Receiver, status: int) -> None:
    courier = world.courier(receiver)
    world.open()
    world.open(pane=9)
    receiver.script = [answer(status)]
    with capture_logs() as lines:
        run(courier)
    assert len(receiver.bodies) == 2
    assert (courier.counts.sent, courier.counts.failures, courier.counts.dropped) == (2, 1, 1)
    (line,) = (line for line in lines if line["log_level"] == "error")
    assert str(status) in line["why"]
    assert "distributional" not in str(line)


def test_a_yes_is_a_yes_even_if_its_body_breaks_off(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver)
    world.open()
    receiver.behave = break_off_after_yes
    run(courier)
    world.clock.advance(60)
    run(courier)
    assert len(receiver.bodies) == 1
    assert courier.counts.failures == 0


@pytest.mark.parametrize("header", ["30", format_datetime(datetime.fromtimestamp(NOW + 30, UTC), usegmt=True)])
def test_a_receiver_that_asks_for_a_pause_gets_it(world: World, receiver: Receiver, header: str) -> None:
    courier = world.courier(receiver)
    world.open()
    receiver.script = [answer(429, Retry_After=header)]
    run(courier)
    world.clock.advance(29)
    run(courier)
    assert len(receiver.bodies) == 1
    world.clock.advance(2)
    run(courier)
    assert len(receiver.bodies) == 2


def test_a_receiver_cannot_ask_for_ever(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver)
    world.open()
    receiver.script = [answer(503, Retry_After="9" * 30)]
    run(courier)
    world.clock.advance(LONGEST_ASKED + 1)
    run(courier)
    assert len(receiver.bodies) == 2


def test_pauses_double_up_to_a_limit_and_differ() -> None:
    backoff = Backoff(random.Random(1))  # noqa: S311 - pauses are no secret
    pauses = [backoff.pause(0.0) for _ in range(12)]
    for at, pause in enumerate(pauses):
        whole = min(2.0**at, LONGEST_PAUSE)
        assert whole / 2 <= pause <= whole
    assert len(set(pauses)) == len(pauses)
    backoff.failures = 0
    assert backoff.pause(0.0) <= 1.0


def test_a_dead_receiver_holds_its_events_and_gets_them_in_order(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver)
    found = [world.open(pane=at) for at in range(1, 4)]
    receiver.behave = answer(502)
    for _ in range(8):
        run(courier)
        world.clock.advance(1)
    assert {body["subject"] for body in receiver.bodies} == {found[0].id}
    assert courier.counts.waiting == 3
    receiver.behave, receiver.bodies = None, []
    world.clock.advance(LONGEST_PAUSE)
    run(courier)
    assert [body["subject"] for body in receiver.bodies] == [one.id for one in found]


def test_events_nobody_took_in_time_are_given_up_and_newer_ones_are_not(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver, give_up="1h")
    old = world.open(pane=1)
    receiver.behave = answer(500)
    run(courier)
    world.clock.advance(3000)
    new = world.open(pane=2)
    run(courier)
    world.clock.advance(1000)
    receiver.behave, receiver.bodies = None, []
    run(courier)
    assert [body["subject"] for body in receiver.bodies] == [new.id]
    assert courier.counts.dropped == 1
    assert old.id != new.id


def test_rows_of_long_ago_are_news_all_the_same(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver)
    world.open(time=1e9)
    run(courier)
    assert receiver.bodies[0]["time"].startswith("2001")


@pytest.mark.parametrize(("lost", "verb"), [("id", "told"), ("severity", "read")])
def test_an_event_of_another_form_does_not_stop_the_next(
    world: World, receiver: Receiver, lost: str, verb: str
) -> None:
    courier = world.courier(receiver)
    world.open()
    query = "UPDATE events SET document = json_remove(document, ?) WHERE seq = 1"
    world.store._connection.execute(query, [f"$.finding.{lost}"])  # as an older version might have left it
    world.open(pane=9)
    with capture_logs() as lines:
        run(courier)
    assert len(receiver.bodies) == 1
    assert courier.counts.dropped == 1
    assert [line["why"] for line in lines if "why" in line] == [f"it cannot be {verb}: KeyError"]


# Restarts.


def test_a_restart_sends_nothing_twice_and_loses_nothing(world: World, receiver: Receiver) -> None:
    run(world.courier(receiver))
    found = [world.open(pane=1), world.open(pane=2)]
    courier = world.courier(receiver)
    courier.step()
    world.restart()
    found.append(world.open(pane=3))
    run(world.courier(receiver))
    world.restart()
    run(world.courier(receiver))
    assert [body["subject"] for body in receiver.bodies] == [one.id for one in found]


def test_a_pane_judged_again_after_a_crash_is_told_once(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver)
    world.open()
    run(courier)
    world.restart()
    world.open()
    run(world.courier(receiver))
    assert len(receiver.bodies) == 1


def test_what_was_waiting_is_sent_after_a_restart(world: World, receiver: Receiver) -> None:
    courier = world.courier(receiver)
    one = world.open()
    receiver.script = [answer(500)]
    run(courier)
    world.restart()
    run(world.courier(receiver))
    assert [body["subject"] for body in receiver.bodies] == [one.id, one.id]
    assert receiver.bodies[0]["id"] == receiver.bodies[1]["id"]


def test_while_the_disk_refuses_nothing_is_sent_twice(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = world.courier(receiver)
    world.open()

    def refuse(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "move_cursor", refuse)
        run(courier)
        world.clock.advance(10)
        run(courier)
    assert len(receiver.bodies) == 1
    assert world.store.cursor("one") == 0
    courier.step()
    assert world.store.cursor("one") == 1
