"""``python -m tests.screenshots --out DIR``: small pictures of the four main pages, over real findings."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from playwright.sync_api import Browser, sync_playwright

from monitor.interventions import Wanted
from monitor.web.section import Web
from tests.e2e.desk_bench import Bench, digits, employment, feed_digits, feed_employment, feed_shop, shop
from tests.e2e.test_pages import CHROMIUM, QUIET

WIDTH, HEIGHT, TALL = 1120, 840, 1_500
SCALE = 0.75


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the pictures.")
def main(out: Path) -> None:
    """Feed three models, do what people do, and take the pictures."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        bench = _fed(Path(place))
        try:
            pages = _acted(bench)
            with bench.served() as url, sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
                for name, path in pages.items():
                    _taken(browser, url + path, out / f"{name}.png")
                browser.close()
        finally:
            bench.close()
    click.echo(f"{len(pages)} pictures in {out}")


def _fed(place: Path) -> Bench:
    bench = Bench(place, [employment(), shop(place), shop(place, "pricing"), digits(place)], Web(show_values=True))
    feed_employment(bench)
    feed_shop(bench, missing=0.3)
    feed_shop(bench, "pricing")
    feed_digits(bench)
    return bench


def _acted(bench: Bench) -> dict[str, str]:
    """What a night's work leaves behind; the pages to show."""
    heads = {one.model: one.id for one in bench.store.briefs(severity="page", heads=True) if one.stream == "all"}
    attack = next(one for one in bench.store.briefs(triage="attack"))
    now, do = bench.desk.now(), bench.desk.hands.intervene
    release = "The gateway's last release; it is being rolled back"
    do(Wanted("acknowledge", "checkout", release, "Ada", {"finding": heads["checkout"]}))
    do(Wanted("mute", "checkout", "Known until the roll-back is through", "Ada", {"column": "amount"}, now + 14_400))
    senders = {"clients": [attack.unit.removeprefix("client ")], "finding": attack.id}
    do(Wanted("quarantine", "digits", "Feels for the boundary; keep it out of training", "Grace", senders))
    wrong = do(Wanted("acknowledge", "employment", "Looking into it", "Grace", {"finding": heads["employment"]}))
    bench.desk.hands.undo(wrong.id, "Grace", "Ada has it")
    return {
        "incidents": "/",
        "finding": f"/findings/{heads['employment']}",
        "attack": f"/findings/{attack.id}",
        "model": "/models/employment",
        "interventions": "/interventions",
    }


def _taken(browser: Browser, url: str, path: Path) -> None:
    height = HEIGHT if path.stem in ("incidents", "interventions") else TALL
    page = browser.new_page(viewport={"width": WIDTH, "height": height}, device_scale_factor=SCALE)
    page.goto(url)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path)
    page.close()


if __name__ == "__main__":
    main()
