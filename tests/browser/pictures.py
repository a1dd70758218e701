"""``make pictures``: every page as a picture, at four widths, with fleets of three sizes, for people to look at.

    python -m tests.browser.pictures [--to FOLDER] [--only WORD]

Each scene is a fleet in a real database, shown by the real server in Debian's Chromium. ``--docs`` makes those of
``docs/pages.md`` alone, with 64 colours (pngquant), into ``docs/pictures``.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.chromium import QUIET_CHROMIUM, Language, Scheme, open_page
from tests.browser.fleets import House, fleet_of
from tests.browser.stories import a_shift, everybody_has_one, long_names, quiet
from tests.services.process import need

DOCS_FOLDER: Final = Path(__file__).parents[2] / "docs" / "pictures"
WIDTHS: Final = {390: 844, 1440: 900, 1920: 1080, 3840: 2160}
"""Of the screens, with their heights."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A fleet, as some pages show it."""

    name: str
    vehicles: int
    tell: Callable[[House], None] = quiet
    """What happens there."""
    is_long: bool = False
    """Names of sixty characters."""
    pages: Sequence[str] = ("", "?wall")
    listening: bool = True


ALL_PAGES: Final = (
    "", "?wall", "tickets/2026-0002", "tickets/2026-0001", "vehicles/amb-002", "vehicles/amb-004", "call",
    "call-backs", "health", "sign-in",
)  # fmt: skip
SCENES: Final = (
    Scene("shift", 30, a_shift, pages=ALL_PAGES),
    Scene("long", 30, a_shift, is_long=True, pages=ALL_PAGES[:-1]),
    Scene("two", 2),
    Scene("thirty-quiet", 30),
    Scene("thirty-300-tickets", 30, lambda house: everybody_has_one(house, 300)),
    Scene("300-quiet", 300),
    Scene("300-300-tickets", 300, lambda house: everybody_has_one(house, 300)),
    Scene("deaf", 30, a_shift, listening=False),
)


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture of ``docs/pages.md``."""

    name: str
    scene: str
    page: str
    language: Language = "zh"
    scheme: Scheme = "light"
    size: tuple[int, int] = (1440, 900)
    whole: bool = False
    """All of the page, not the first screen."""


PHONE: Final = (390, 844)
DOCS: Final = (
    Shot("fleet", "shift", ""),
    Shot("fleet-en-dark", "shift", "", "en", "dark"),
    Shot("fleet-can-send", "shift", "?video=yes"),
    Shot("fleet-many", "300-300-tickets", ""),
    Shot("fleet-group-open", "300-300-tickets", "?open=v.sim_absent"),
    Shot("fleet-deaf", "deaf", ""),
    Shot("fleet-phone", "shift", "", size=PHONE),
    Shot("fleet-long-names", "long", "", "en"),
    Shot("wall", "shift", "?wall", size=(1920, 1080)),
    Shot("wall-dark", "shift", "?wall", "en", "dark", (1920, 1080)),
    Shot("wall-many", "300-300-tickets", "?wall", size=(3840, 2160)),
    Shot("wall-deaf", "deaf", "?wall", size=(1920, 1080)),
    Shot("ticket", "shift", "tickets/2026-0002", whole=True),
    Shot("ticket-en-dark", "shift", "tickets/2026-0002", "en", "dark", whole=True),
    Shot("ticket-raised", "shift", "tickets/2026-0003", whole=True),
    Shot("ticket-phone", "shift", "tickets/2026-0002", size=PHONE),
    Shot("vehicle", "shift", "vehicles/amb-002", whole=True),
    Shot("vehicle-en-dark", "shift", "vehicles/amb-002", "en", "dark", whole=True),
    Shot("vehicle-suspected", "shift", "vehicles/amb-004"),
    Shot("vehicle-phone", "shift", "vehicles/amb-002", size=PHONE),
    Shot("call", "shift", "call"),
    Shot("call-phone", "shift", "call", "en", size=PHONE),
    Shot("call-backs", "shift", "call-backs"),
    Shot("health", "shift", "health"),
    Shot("health-deaf", "deaf", "health"),
    Shot("sign-in", "shift", "sign-in", size=(1440, 600)),
)
LOOKS: Final[Sequence[tuple[Language, Scheme]]] = (("zh", "light"), ("en", "dark"))


@contextlib.contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=need("chromium", "chromium"), args=QUIET_CHROMIUM)
        yield browser
        browser.close()


@contextlib.contextmanager
def shown(scene: Scene) -> Iterator[str]:
    """Serve a scene's pages; yield their address."""
    names = long_names if scene.is_long else None
    with (
        tempfile.TemporaryDirectory() as folder,
        fleet_of(
            Path(folder), scene.vehicles, tell=scene.tell, names=names, listening=scene.listening, person="li"
        ) as (_, address),
    ):
        yield address


def settle(page: Page) -> None:
    """Wait until everything stands on a page."""
    page.wait_for_load_state("load")
    page.evaluate("document.fonts.ready")
    if page.locator("#charts").count():
        page.wait_for_selector("#charts[data-drawn]")
    if page.locator("#live").count():
        page.wait_for_selector("#live.up", state="attached", timeout=15_000)


def take(browser: Browser, address: str, shot: Shot, file: Path) -> None:
    """Take a picture of a page."""
    page, _ = open_page(
        browser,
        f"{address}/{shot.page}",
        shot.language,
        scheme=shot.scheme,
        size=shot.size,
        signed_in=shot.page != "sign-in",
    )
    settle(page)
    page.screenshot(path=file, full_page=shot.whole)
    page.context.close()


def everything() -> Iterator[Shot]:
    """Yield every page of every scene at every width, in two looks."""
    for scene in SCENES:
        for page in scene.pages:
            for language, scheme in LOOKS:
                for width, height in WIDTHS.items():
                    name = f"{scene.name}-{_word(page)}-{width}-{language}-{scheme}"
                    whole = "wall" not in page and width < 3840
                    yield Shot(name, scene.name, page, language, scheme, (width, height), whole)


def main() -> int:
    """Make the pictures; print where they are."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.pictures", description=__doc__)
    parser.add_argument("--to", type=Path, default=Path("pictures"))
    parser.add_argument("--only", default="", help="pictures whose name has this word")
    parser.add_argument("--docs", action="store_true", help="those of docs/pages.md")
    args = parser.parse_args()
    to: Path = DOCS_FOLDER if args.docs else args.to
    to.mkdir(parents=True, exist_ok=True)
    wanted = [shot for shot in (DOCS if args.docs else everything()) if args.only in shot.name]
    with _browser() as browser:
        for scene in SCENES:
            shots = [shot for shot in wanted if shot.scene == scene.name]
            while shots:  # nobody of a drawn fleet speaks again: it is drawn anew before they fall silent
                now, shots = shots[:6], shots[6:]
                _take_all(browser, scene, now, to, is_small=args.docs)
    return 0


def _take_all(browser: Browser, scene: Scene, shots: Sequence[Shot], to: Path, *, is_small: bool) -> None:
    with shown(scene) as address:
        for shot in shots:
            file = to / f"{shot.name}.png"
            take(browser, address, shot, file)
            if is_small:
                subprocess.run([need("pngquant", "pngquant"), "--force", "--ext", ".png", "64", file], check=True)
            print(file, flush=True)


def _word(page: str) -> str:
    return {"": "fleet", "?wall": "wall"}.get(page, page.replace("/", "-"))


if __name__ == "__main__":
    sys.exit(main())
