"""The pages in a real browser, over real findings: what is shown, drawn, filtered, done and undone, and what is not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, expect, sync_playwright

from monitor.records import Brief
from monitor.web.section import Web
from tests.e2e.desk_bench import BREAKER, HOSTILE, Bench, feed_shop, shop

CHROMIUM = "/usr/bin/chromium"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Switches without which Chromium does not start here, or looks for its maker's hosts."""
NAMES = (HOSTILE, BREAKER, "{{ 7919*7907 }}\n*b*")
PLAIN = ("amount", "weight", "country")
INK = """place => {
  const canvas = place.querySelector("canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set();
  for (let at = 0; at < data.length; at += 4) if (data[at + 3]) seen.add(data.slice(at, at + 3).join());
  return seen.size;
}"""
"""How many colours are on a plot's canvas."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    place = tmp_path_factory.mktemp("desk")
    models = [shop(place), shop(place, "pricing"), shop(place, "hostile", NAMES)]
    made = Bench(place, models)
    feed_shop(made, missing=0.3)
    feed_shop(made, "pricing", apart=True)
    feed_shop(made, "hostile", NAMES, missing=0.3)
    yield made
    made.close()


@pytest.fixture(scope="module")
def url(bench: Bench) -> Iterator[str]:
    with bench.served() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield made
        made.close()


@dataclass
class Visit:
    """A page, and what went wrong on it."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def startle(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser, url: str) -> Iterator[Open]:
    """Opens a page; in the end nothing may have been complained of, and no script of others may have run."""
    opened: list[Visit] = []

    def make(path: str, address: str = url, **options: Any) -> Visit:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(10_000)
        made = Visit(context.new_page())
        made.page.on("console", made.hear)
        made.page.on("pageerror", lambda error: made.faults.append(str(error)))
        made.page.on("dialog", made.startle)
        made.page.goto(address + path)
        opened.append(made)
        return made

    yield make
    faults = [fault for one in opened for fault in one.faults]
    for one in opened:
        one.page.context.close()
    assert faults == []


def head(bench: Bench, model: str, stream: str = "all") -> Brief:
    """The page that a model's stream opened."""
    return next(one for one in bench.store.briefs(model=model, severity="page") if one.stream == stream)


def drawn(page: Page) -> None:
    """Every plot is on its canvas, in more colours than axes have."""
    plots = page.locator("[data-plot]")
    assert plots.count() > 0
    for place in range(plots.count()):
        plots.nth(place).scroll_into_view_if_needed()
        expect(plots.nth(place)).to_have_attribute("data-drawn", "yes")
        assert plots.nth(place).evaluate(INK) > 3


def act(page: Page, name: str, why: str = "as the test wants it") -> None:
    """Open a drawer of actions, say who and why, and do it."""
    drawer = page.locator(".actions details", has_text=name).first
    drawer.locator("summary").click()
    drawer.get_by_label("Your name").fill("Ada")
    drawer.get_by_label("Why").fill(why)
    drawer.locator("button").click()


def test_the_front_page_lists_what_is_going_on_and_leads_to_it(bench: Bench, visit: Open) -> None:
    page = visit("/").page
    expect(page.locator("h1")).to_have_text("Incidents")
    expect(page.locator(".lead")).to_contain_text("3 pages to attend to")
    expect(page.locator(".models li")).to_have_count(3)
    page.get_by_role("link", name="weight and amount changed together").click()
    assert page.url.endswith(head(bench, "pricing").id)
    expect(page.locator("h1")).to_contain_text("changed together in a way that no single column shows")


def test_filters_narrow_the_list_and_say_so_when_nothing_fits(visit: Open) -> None:
    page = visit("/").page
    page.get_by_label("Model", exact=True).select_option("checkout")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".incident")).to_have_count(1)
    page.get_by_label("Kind", exact=True).select_option("attack")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("div.calm")).to_contain_text("No incident fits")
    page.get_by_role("link", name="Clear it").click()
    expect(page.locator(".incident")).to_have_count(3)
    page.goto(page.url + "?severity=nonsense&state=%3Cb%3E&after=xyz")
    expect(page.locator(".incident")).to_have_count(3)


def test_a_finding_tells_its_story_and_its_plots_are_drawn(bench: Bench, visit: Open) -> None:
    page = visit(f"/findings/{head(bench, 'checkout').id}").page
    expect(page.locator("h1")).to_have_text("amount goes missing.")
    expect(page.locator(".detail")).to_contain_text("% of the rows lack it; in the reference 0 %")
    expect(page.locator(".sure")).to_contain_text("an alarm asks for")
    for heading in ("First steps", "Evidence over time", "Before and after", "What it may be", "What cannot be seen"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.locator(".faults")).to_contain_text("missing: 0 % → 3")
    expect(page.get_by_role("link", name="Runbook", exact=True)).to_have_attribute(
        "href", "/runbooks#driftwardendatafault"
    )
    drawn(page)


def test_each_plot_has_words_and_a_table_beside_it(bench: Bench, visit: Open) -> None:
    page = visit(f"/findings/{head(bench, 'checkout').id}").page
    plots = page.locator("[data-plot]")
    for place in range(plots.count()):
        assert "the table below has the numbers" in str(plots.nth(place).get_attribute("aria-label"))
        assert plots.nth(place).locator("xpath=following-sibling::details[1]//tbody/tr").count() > 5


def test_a_joint_finding_shows_the_pair_and_rows_beside_trusted_ones(bench: Bench, visit: Open) -> None:
    page = visit(f"/findings/{head(bench, 'pricing').id}").page
    expect(page.locator(".pair h3")).to_have_text("amount against weight")
    expect(page.locator("table.rows thead th.named")).to_have_text(["weight", "amount"])
    assert page.locator("table.rows tbody tr").count() >= 3
    expect(page.locator(".beside").first).to_contain_text("trusted row,")
    drawn(page)


def test_a_model_shows_every_column_with_the_strongest_evidence_first(visit: Open) -> None:
    page = visit("/models/checkout").page
    names = page.locator("#columns ~ .grid article h3")
    expect(names).to_have_count(5)
    expect(names.first).to_have_text("amount alarm")
    expect(page.locator("table.list").first.locator("tbody tr")).to_have_count(3)
    page.get_by_role("row", name="region=south").get_by_role("link").click()
    expect(page.get_by_role("heading", name="Evidence over time in")).to_contain_text("all/region=south")
    drawn(page)


@pytest.mark.parametrize(
    "path", ["/", "/models", "/models/hostile", "/interventions", "finding", "/?model=hostile&state=all"]
)
def test_what_logs_call_themselves_is_text_and_nothing_else(bench: Bench, visit: Open, path: str) -> None:
    path = f"/findings/{head(bench, 'hostile').id}" if path == "finding" else path
    page = visit(path).page
    page.wait_for_load_state("networkidle")
    assert page.locator("img").count() == 0
    assert page.locator("script:not([src])").count() == 0
    assert "62615533" not in page.locator("main").inner_text()
    if path not in ("/models", "/interventions"):
        assert HOSTILE in page.locator("main").inner_text()
    assert "\u202e" not in page.locator("body").inner_text()


def test_hostile_names_can_be_muted_and_unmuted_by_their_very_names(bench: Bench, visit: Open) -> None:
    page = visit(f"/findings/{head(bench, 'hostile').id}").page
    act(page, "Mute…", why='<b>why</b> & "so"')
    expect(page.locator(".banner.good")).to_have_text("Muted.")
    (one,) = bench.store.interventions(model="hostile", kind="mute")
    assert one.target == {"column": HOSTILE}
    expect(page.locator(".act")).to_contain_text('<b>why</b> & "so"')
    bench.desk.hands.undo(one.id, "Ada", "test over")


@pytest.mark.parametrize("name", NAMES)
def test_a_column_is_muted_by_its_very_name(bench: Bench, visit: Open, name: str) -> None:
    page = visit("/models/hostile").page
    drawer = page.locator(".actions details", has_text="Mute a column")
    drawer.locator("summary").click()
    drawer.get_by_label("Column").select_option(json.dumps(name))
    drawer.get_by_label("Your name").fill("Ada")
    drawer.get_by_label("Why").fill("known")
    drawer.locator("button").click()
    expect(page.locator(".act .target").first).to_be_visible()
    (one,) = bench.store.interventions(model="hostile", kind="mute", active=bench.desk.now())
    assert one.target == {"column": name}
    bench.desk.hands.undo(one.id, "Ada", "test over")


def test_acknowledged_then_taken_back(bench: Bench, visit: Open) -> None:
    finding = head(bench, "pricing")
    page = visit(f"/findings/{finding.id}").page
    act(page, "Acknowledge")
    expect(page.locator(".banner.good")).to_have_text("Acknowledged.")
    expect(page.locator(".hero .chips")).to_contain_text("Acknowledged by Ada (anonymous)")
    expect(page.locator(".actions")).not_to_contain_text("Acknowledge")
    expect(page).not_to_have_url(re.compile("done="))
    page.goto(page.url.split("/findings")[0] + "/interventions?active=yes")
    entry = page.locator(".act", has_text="weight and amount changed together")
    entry.locator("summary", has_text="Undo").click()
    expect(entry.get_by_label("Your name")).to_have_value("Ada")
    entry.get_by_label("Why").fill("false alarm")
    entry.get_by_role("button", name="Undo it").click()
    expect(page.locator(".banner.good")).to_have_text("Taken back.")
    assert page.url.split("?")[0].endswith(finding.id)
    expect(page.locator(".hero .chips")).to_contain_text("Open")
    expect(page.locator(".act")).to_contain_text("Undone by Ada (anonymous)")


def test_what_is_wrong_is_said_and_nothing_is_done(bench: Bench, visit: Open) -> None:
    opened = visit("/models/checkout")
    page = opened.page
    drawer = page.locator(".actions details", has_text="Mute a column")
    drawer.locator("summary").click()
    drawer.get_by_label("Your name").fill("Ada")
    drawer.get_by_label("Why").evaluate("field => { field.required = false; field.removeAttribute('minlength'); }")
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        drawer.get_by_role("button", name="Mute").click()
    assert answer.value.status == 400
    expect(page.locator("h1")).to_have_text("That was not done")
    expect(page.locator("main")).to_contain_text("because: say why")
    assert not bench.store.interventions(model="checkout", kind="mute")
    assert [fault for fault in opened.faults if "400" not in fault] == []
    opened.faults.clear()


def test_without_scripts_everything_can_still_be_read_and_done(bench: Bench, visit: Open) -> None:
    finding = head(bench, "checkout", "all/region=south")
    page = visit(f"/findings/{finding.id}", java_script_enabled=False).page
    page.locator("summary", has_text="Numbers of the last").click()
    assert page.locator("details.numbers").first.locator("tbody tr").count() > 5
    act(page, "Acknowledge")
    expect(page.locator(".hero .chips")).to_contain_text("Acknowledged by Ada")
    (one,) = bench.store.interventions(finding=finding.id)
    bench.desk.hands.undo(one.id, "Ada", "test over")


def test_everything_is_reached_by_the_keyboard(bench: Bench, visit: Open) -> None:
    page = visit(f"/findings/{head(bench, 'pricing').id}").page
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    page.locator(".actions summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(":focus")).to_have_attribute("name", "by")
    page.keyboard.press("Escape")
    expect(page.locator(".actions details[open]")).to_have_count(0)
    expect(page.locator(":focus")).to_contain_text("Acknowledge")


@pytest.mark.parametrize("path", ["/", "/models", "/models/checkout", "/interventions", "finding", "/runbooks"])
def test_a_phone_needs_no_sideways_scrolling(bench: Bench, visit: Open, path: str) -> None:
    path = f"/findings/{head(bench, 'hostile').id}" if path == "finding" else path
    page = visit(path, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_paper_by_day_and_by_night(visit: Open, scheme: str) -> None:
    """WCAG's contrast of 4.5 for each colour of text on both papers."""
    page = visit("/", color_scheme=scheme).page
    contrast = """() => {
      const style = getComputedStyle(document.documentElement);
      const lit = name => {
        const hex = style.getPropertyValue("--" + name).trim();
        const [r, g, b] = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
          .map(one => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ratio = (a, b) => (Math.max(lit(a), lit(b)) + 0.05) / (Math.min(lit(a), lit(b)) + 0.05);
      const pairs = ["paper", "back"].flatMap(on => ["ink", "soft", "faint", "link", "page"].map(text => [text, on]));
      pairs.push(...["page", "ticket", "info", "good", "held"].map(text => [text, text + "-soft"]), ["paper", "page"]);
      return pairs.filter(([text, on]) => ratio(text, on) < 4.5).map(pair => pair.join(" on "));
    }"""
    assert page.evaluate(contrast) == []


def test_values_are_for_those_who_may_see_them(bench: Bench, visit: Open) -> None:
    finding = head(bench, "pricing")
    before = bench.web
    bench.web = Web()
    try:
        with bench.served() as address:
            page = visit(f"/findings/{finding.id}", address).page
            expect(page.locator("#rows ~ p")).to_contain_text("values: true")
            assert page.locator("table.rows, .pair, .beside").count() == 0
            drawn(page)
    finally:
        bench.web = before


def test_readers_of_one_model_see_one_model_and_no_buttons(bench: Bench, visit: Open) -> None:
    mine, other = head(bench, "checkout"), head(bench, "pricing")
    before = bench.web
    bench.web = Web.model_validate({"people": [{"name": "anonymous", "models": ["checkout"], "values": True}]})
    try:
        with bench.served() as address:
            page = visit("/", address).page
            expect(page.locator(".models li")).to_have_count(1)
            expect(page.locator(".incident")).to_have_count(1)
            page.goto(f"{address}/findings/{mine.id}")
            expect(page.locator("form[method=post]")).to_have_count(0)
            expect(page.locator(".who")).to_contain_text("reads only")
            for path in (f"/findings/{other.id}", "/models/pricing"):
                answer = page.request.get(address + path)
                assert answer.status == 404
                assert "weight" not in answer.text()
    finally:
        bench.web = before


def test_a_page_says_that_something_has_changed(bench: Bench, visit: Open) -> None:
    page = visit("/")
    page.page.clock.install()
    page.page.reload()
    expect(page.page.locator("#changed")).to_be_hidden()
    from monitor.interventions import Wanted

    made = bench.desk.hands.intervene(
        Wanted("acknowledge", "checkout", "testing", "Ada", {"finding": head(bench, "checkout").id})
    )
    page.page.clock.run_for(11_000)
    expect(page.page.locator("#changed")).to_be_visible()
    bench.desk.hands.undo(made.id, "Ada", "test over")
