"""The dashboard in a real browser, before a real supervisor with real units."""
from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import PROGRAM, Browser, Page
from tests.scenario.dashboard.kit import Dashboard
from tests.stack import Stack

pytestmark = pytest.mark.skipif(not PROGRAM, reason="chromium is not installed")

UNITS = {
    "db": 'description = "The database"\ncommand = ["/bin/sleep", "1000"]',
    "web": (
        'command = ["/bin/sh", "-c", "sleep 1000 & exec sleep 1001"]\ninstances = 2\n'
        'needs = {requires = ["db"], wants = ["cache"]}\n'
        '[[listen]]\nname = "http"\naddress = "tcp:127.0.0.1:0"'),
    "cache": 'command = ["/bin/sleep", "1000"]',
    "proxy": 'command = ["/bin/sleep", "1000"]\nneeds = {binds_to = ["web"], after = ["db"]}',
    "broken": 'command = ["/bin/sh", "-c", "exit 7"]\nrestart = {when = "never"}',
    "later": 'autostart = false\ncommand = ["/bin/sleep", "1000"]',
}
ROWS = "[...document.querySelectorAll('#rows [data-key]')]"
HARMLESS = "ESC[31mred ESC[0m<script>document.title = 'taken'</script> \u202eright \x07"


def row(key: str) -> str:
    return f"document.querySelector('#rows [data-key=\"{key}\"]')"


def shows(key: str, state: str) -> str:
    return f"{row(key)}.querySelector('.state').textContent.endsWith('{state}')"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def stack(home: Path) -> Iterator[Stack]:
    with Stack(home, UNITS) as stack:
        stack.wait("proxy", "running")
        stack.wait("broken", "failed")
        yield stack


@pytest.fixture(scope="module")
def dashboard(home: Path, stack: Stack) -> Iterator[Dashboard]:
    with Dashboard(home, stack.runtime) as dashboard:
        yield dashboard


@pytest.fixture(scope="module")
def browser(home: Path) -> Iterator[Browser]:
    with Browser(home) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, dashboard: Dashboard) -> Iterator[Page]:
    """Let in, and with all rows; nothing may have gone wrong in it, nor have left this host."""
    page = browser.page(dashboard.url)
    page.until(f"{ROWS}.length === 7")
    yield page
    strangers = [url for url in page.requests if not url.startswith(f"http://{dashboard.place}/")]
    problems = page.problems
    page.close()
    assert not strangers
    assert not problems


def test_units_appear_with_what_is_known_of_them(page: Page, stack: Stack) -> None:
    states = page.run(f"Object.fromEntries({ROWS}.map((row) =>"
                      " [row.dataset.key, row.querySelector('.state').textContent.slice(1)]))")
    assert states == {
        "db": "running", "web/0": "running", "web/1": "running", "cache": "running",
        "proxy": "running", "broken": "failed", "later": "stopped",
    }
    assert page.run(f"{row('db')}.querySelector('.pid').textContent") == str(stack.row("db")["pid"])
    assert page.run(f"{row('broken')}.querySelector('.remark').textContent") == "exit 7"
    assert "token" not in page.run("location.href")
    assert page.run("document.cookie") == "", "no script may read it"


def test_changes_arrive_by_themselves(page: Page, stack: Stack) -> None:
    stack.call("Start", units=["later"])
    page.until(shows("later", "running"))
    stack.call("Stop", units=["later"])
    page.until(shows("later", "stopped"))
    stack.write("fresh", 'command = ["/bin/sleep", "1000"]')
    stack.call("ReloadUnits")
    page.until(row("fresh"))
    (stack.units / "fresh.toml").unlink()
    stack.call("ReloadUnits")
    page.until(f"!{row('fresh')}")


def test_one_unit_is_shown_whole(page: Page, stack: Stack, dashboard: Dashboard) -> None:
    page.run("location.hash = '#units/web%2F0'")
    page.until("document.querySelectorAll('.tree tbody tr').length === 2")
    text = page.text()
    assert str(stack.row("web/0")["pid"]) in text
    assert "sleep 1000" in text
    assert "tcp:127.0.0.1" in text
    chain = page.run("[...document.querySelectorAll('.told .events li')].map((li) => li.innerText)")
    assert any("launching → up" in line for line in chain)
    assert any(re.search("(db|cache) is ready", line) for line in chain), "why it could start"
    page.until("document.querySelectorAll('.chart:not([hidden]) .curve[d^=M]').length >= 2")


def test_lines_arrive_and_whatever_they_say_is_only_text(page: Page, dashboard: Dashboard) -> None:
    dashboard.feed("db", "before the page was open")
    page.run("location.hash = '#units/db'")
    page.until("document.querySelector('.lines').innerText.includes('before the page')")
    dashboard.feed("db", HARMLESS.replace("ESC", "\x1b"), "error")
    dashboard.feed("db", "", "lost", bytes=4096, reason="full", **{"from": 0, "to": 10**9})
    page.until("document.querySelectorAll('.line').length === 3")
    lines = page.run("[...document.querySelectorAll('.line > span:last-child')].map((one) =>"
                     " one.textContent)")
    assert lines[1] == "red <script>document.title = 'taken'</script> \u2039202e\u203aright \u2407"
    assert lines[2] == "4096 bytes lost within 1000 ms: full"
    kinds = page.run("[...document.querySelectorAll('.line')].map((one) => one.dataset.kind)")
    assert kinds == ["output", "error", "lost"]
    assert page.run("document.querySelectorAll('.lines script').length") == 0
    assert page.run("document.title").endswith("unboxed")


def test_a_log_can_be_paused_and_searched(page: Page, dashboard: Dashboard) -> None:
    for number in range(300):
        dashboard.feed("cache", f"line {number} of cache")
    page.run("location.hash = '#units/cache'")
    page.until("document.querySelectorAll('.line').length === 300")
    page.until("(({scrollTop, scrollHeight, clientHeight}) => scrollTop > 0 && scrollHeight -"
               " scrollTop - clientHeight < 8)(document.querySelector('.lines'))")
    page.run("[...document.querySelectorAll('.log button')].find((one) =>"
             " one.textContent === 'Pause').click()")
    dashboard.feed("cache", "while it was paused")
    page.until("document.querySelector('.log output').textContent.includes('1 more wait')")
    assert page.run("document.querySelectorAll('.line').length") == 300
    page.run("document.querySelector('.log [aria-pressed]').click()")
    page.until("document.querySelectorAll('.line').length === 301")
    page.run("document.querySelector('.log input[type=search]').focus()")
    page.type("line 29")
    page.until("document.querySelector('.log output').textContent === '11 of 301 lines'")
    assert page.run("document.querySelector('.line:not([hidden]) mark').textContent") == "line 29"


def test_a_unit_is_stopped_and_started_by_keyboard_alone(page: Page, stack: Stack) -> None:
    page.press("/")
    page.until("document.activeElement.id === 'search'")
    page.type("prox")
    page.press("ArrowDown")
    page.until("document.activeElement.dataset.key === 'proxy'")
    page.press("Enter")
    page.until("document.activeElement.id === 'detail-name'")
    for action, state in (("Stop", "stopped"), ("Start", "running")):
        for _ in range(8):
            if page.run("document.activeElement.textContent") == action:
                break
            page.press("Tab")
        assert page.run("document.activeElement.textContent") == action
        page.press("Enter")
        page.until("document.querySelector('#confirm').open")
        assert page.run("document.activeElement.textContent") == "Cancel"
        assert page.run("document.querySelector('#confirm h2').textContent") == f"{action} proxy?"
        page.press("Escape")
        page.until("!document.querySelector('#confirm').open")
        assert stack.row("proxy")["state"] != state, "nothing was done"
        page.until(f"document.activeElement.textContent === '{action}'")
        page.press("Enter")
        page.until("document.querySelector('#confirm').open")
        page.press("Tab", "Enter")
        page.until(shows("proxy", state))
        said = f"{action.lower()} proxy: "
        page.until(f"document.querySelector('#toasts').innerText.includes('{said}')")
        page.run("document.querySelector('#detail-name').focus()")
    page.press("Escape")
    page.until("document.querySelector('#detail').hidden")
    assert page.run("document.activeElement.dataset.key") == "proxy", "back where it began"


def test_the_keyboard_stays_inside_an_open_dialog(page: Page) -> None:
    page.run("location.hash = '#units/db'")
    page.until("document.querySelector('[data-action=restart]')")
    page.run("document.querySelector('[data-action=restart]').click()")
    page.until("document.querySelector('#confirm-more').textContent === 'Needed by: proxy, web.'")
    seen = set()
    for _ in range(6):
        page.press("Tab")
        seen.add(page.run("document.activeElement.id || document.activeElement.tagName"))
    assert seen <= {"confirm-no", "confirm-yes", "BODY"}  # BODY: the browser's own controls
    assert {"confirm-no", "confirm-yes"} <= seen
    page.press("Escape")


def test_arrow_keys_walk_the_list_and_states_filter_it(page: Page) -> None:
    page.press("/", "ArrowDown", "End")
    assert page.run("document.activeElement.dataset.key") == "web/1"
    page.press("ArrowDown", "ArrowUp")
    assert page.run("document.activeElement.dataset.key") == "web/0"
    page.press("Home")
    assert page.run("document.activeElement.dataset.key") == "broken"
    page.run("document.querySelector('[data-state=failed]').click()")
    page.until(f"{ROWS}.length === 1")
    page.run("document.querySelector('[data-state=failed]').click()")
    page.run("document.querySelector('#grouped').click()")
    page.until("document.querySelectorAll('.group').length === 3")
    assert page.run(f"{ROWS}[0].dataset.key") == "broken", "what is bad comes first"


def test_the_graph_shows_who_needs_whom(page: Page) -> None:
    page.run("location.hash = '#graph'")
    page.until("document.querySelectorAll('.node').length === 4")
    kinds = page.run("[...document.querySelectorAll('path.edge')].map((one) =>"
                     " one.querySelector('title').textContent).sort()")
    assert kinds == ["proxy after db", "proxy binds to web", "web requires db", "web wants cache"]
    page.run("document.querySelector('.node[aria-label^=\"web,\"]').focus()")
    page.press("Enter")
    page.until("document.querySelector('#detail-name').textContent === 'web/0'")


def test_events_are_told_as_they_happen(page: Page, stack: Stack) -> None:
    page.run("location.hash = '#events'")
    stack.call("Restart", units=["cache"])
    page.until("[...document.querySelectorAll('#events li')].some((one) =>"
               " /cache.*launching → up/s.test(one.innerText))")


@pytest.mark.parametrize("width, height", [(320, 600), (1280, 800), (3840, 2160)])
def test_it_fits_every_screen_in_light_and_dark(
    page: Page, dashboard: Dashboard, width: int, height: int
) -> None:
    for number in range(100):
        dashboard.feed("web/1", f"error {number} " + "of many words " * 20, "error")
    page.size(width, height)
    page.run("location.hash = '#units/web%2F1'")
    page.until("document.querySelectorAll('.line').length >= 100")
    for view in ("#units", "#units/web%2F1", "#graph", "#events"):
        page.run(f"location.hash = '{view}'")
        size = page.run(
            "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done("
            "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]))))")
        assert size[0] <= width, view
        assert size[1] <= height, view
    paper = {}
    for dark in (False, True):
        page.dark(dark)
        paper[dark] = page.run("getComputedStyle(document.body).backgroundColor")
    assert paper[False] != paper[True]


def test_a_manager_that_is_replaced_or_hangs_is_said_and_the_page_goes_on(
    page: Page, stack: Stack
) -> None:
    first = stack.manager
    os.kill(first, signal.SIGKILL)
    page.until("document.querySelector('#notice').innerText.includes('he manager was replaced')")
    page.until("document.querySelector('#link').dataset.state === 'up'")
    stack.until(lambda: stack.manager not in {0, first}, "the new manager")
    os.kill(stack.manager, signal.SIGSTOP)
    try:
        page.until("document.querySelector('#link').dataset.state === 'silent'")
        assert "has not answered" in page.run("document.querySelector('#notice').innerText")
        page.run("location.hash = '#events'")
        page.until("!document.querySelector('#events').hidden")
    finally:
        os.kill(stack.manager, signal.SIGCONT)
    page.until("document.querySelector('#link').dataset.state === 'up'")
    stack.call("Start", units=["later"])
    page.until(shows("later", "running"))
    stack.call("Stop", units=["later"])


def test_a_dashboard_that_is_started_again_is_found_by_the_page_itself(
    browser: Browser, stack: Stack, tmp_path: Path
) -> None:
    with Dashboard(tmp_path, stack.runtime) as first:
        page = browser.page(first.url)
        page.until(f"{ROWS}.length === 7")
        page.until("document.querySelector('#link').dataset.state === 'up'")
    page.until("document.querySelector('#link').dataset.state === 'lost'")
    assert "does not answer since" in page.run("document.querySelector('#notice').innerText")
    with Dashboard(tmp_path, stack.runtime, place=first.place):
        page.until("document.querySelector('#link').dataset.state === 'up'")
        stack.call("Start", units=["later"])
        page.until(shows("later", "running"))
        stack.call("Stop", units=["later"])
    page.close()


def test_who_may_only_look_sees_no_buttons(
    browser: Browser, stack: Stack, tmp_path: Path
) -> None:
    with Dashboard(tmp_path, stack.runtime, "--status") as dashboard:
        page = browser.page(dashboard.url)
        page.until(f"{ROWS}.length === 7")
        page.run("location.hash = '#units/db'")
        page.until("document.querySelectorAll('.tree tbody tr').length === 1")
        assert page.run("document.querySelectorAll('[data-action]').length") == 0
        assert "only looking" in page.text()
        assert "(not told here)" in page.text(), "command lines are not for everybody"
        refused = page.run(
            "import('/page/store.js').then(({ act }) => act('stop', 'db')).catch((e) => e.message)")
        assert "status socket" in refused
        assert stack.row("db")["state"] == "running"
        page.close()


def test_without_the_token_there_is_no_page(browser: Browser, dashboard: Dashboard) -> None:
    stranger = dashboard.place.replace("127.0.0.1", "localhost")  # has no cookie of ours
    for path in ("", "?token=wrong", "stream", "page/main.js"):
        page = browser.page(f"http://{stranger}/{path}")
        assert "needs its token" in page.text()
        assert "web/0" not in page.text()
        page.close()
