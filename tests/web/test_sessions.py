"""The console's sessions: made as the dialog says, shown as they are, kept, renamed and ended; and metrics of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from support.emulator import look_until
from support.site import ENVIRONMENT, SHELL

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Locator

    from support.console import Console, Opens
    from support.shared import SharedService

COMMAND = "bash\n--norc\n--noprofile\n-c\necho $PWD $GREETING; stty size; exec cat"


async def has(service: SharedService, session_id: str, **wanted: object) -> dict[str, Any]:
    """Wait until the service says this of a session; return all it says."""

    async def find() -> dict[str, Any] | None:
        view = await service.info(session_id)
        return view if wanted.items() <= view.items() else None

    return await look_until(find, f"a session with {wanted}")


def row(page: Console, name: str) -> Locator:
    """Return the row of the running session with a name."""
    return page.page.get_by_role("row", name=re.compile(rf"^running running {re.escape(name)}\b"))


async def test_a_session_is_made_as_the_dialog_says(console: Opens, service: SharedService, tmp_path: Path) -> None:
    page = await console()
    await page.button("New session with options").click()
    dialog = page.page.get_by_role("dialog", name="New session")
    await dialog.get_by_label("Program").select_option("A command…")
    await dialog.get_by_label("Command", exact=True).fill(COMMAND)
    await dialog.get_by_label("Name", exact=True).fill("the büild")
    await dialog.get_by_label("Lives without use").select_option("Another time…")
    await dialog.get_by_label("Time without use").fill("90m")
    await dialog.get_by_label("Size", exact=True).select_option(value="fixed")
    await dialog.get_by_label(re.compile("^Columns")).fill("100")
    await dialog.get_by_label(re.compile("^Rows")).fill("30")
    await dialog.get_by_text("Advanced").click()
    await dialog.get_by_label("Working directory").fill(str(tmp_path))
    await dialog.get_by_role("button", name="Add a variable").click()
    await dialog.get_by_label("Name of variable 1").fill("GREETING")
    await dialog.get_by_label("Value of GREETING").fill("hello there")
    await dialog.get_by_role("button", name="Add a label").click()
    await dialog.get_by_label("Name of label 1").fill("team")
    await dialog.get_by_label("Value of team").fill("web")
    await dialog.get_by_label("Whose size counts").select_option("fixed")
    await page.tab.shoot("filled")
    await dialog.get_by_role("button", name="Start session").click()
    (terminal,) = await page.until_panes(1)
    await terminal.until(f"^{re.escape(str(tmp_path))} hello there$")
    await terminal.until("^30 100$")
    view = await service.info(await terminal.session())
    assert {name: view[name] for name in ("name", "rows", "cols", "labels", "size_policy", "ttl_seconds")} == {
        "name": "the büild",
        "rows": 30,
        "cols": 100,
        "labels": {"team": "web"},
        "size_policy": "fixed",
        "ttl_seconds": 5400,
    }
    await page.page.get_by_role("tab", name="the büild").wait_for()
    await page.tab.shoot("started")


async def test_a_wrong_wish_is_told_where_it_was_made(console: Opens, service: SharedService) -> None:
    before = len((await service.http.get("/api/v1/sessions")).json())
    page = await console()
    await page.button("New session with options").click()
    dialog = page.page.get_by_role("dialog", name="New session")
    await dialog.get_by_label("Lives without use").select_option("Another time…")
    await dialog.get_by_label("Time without use").fill("soon")
    await dialog.get_by_text("Advanced").click()
    await dialog.get_by_label("Working directory").fill("/no/such/place")
    await dialog.get_by_role("button", name="Start session").click()
    await dialog.get_by_text("a length of time, as 90m, 12h or 2d").wait_for()
    await dialog.get_by_label("Time without use").fill("2h")
    page.tab.watch.expect("answered 4..: POST .*/api/v1/sessions", "Failed to load resource: .* 4..")
    await dialog.get_by_role("button", name="Start session").click()
    place = dialog.get_by_label("Working directory")
    await look_until(lambda: _is_invalid(place), "the field to be marked")
    await page.tab.shoot("wrong")
    assert len((await service.http.get("/api/v1/sessions")).json()) == before


async def _is_invalid(field: Locator) -> bool:
    return await field.get_attribute("aria-invalid") == "true"


async def test_the_list_tells_what_a_session_is_and_what_keeps_it(console: Opens, service: SharedService) -> None:
    created = await service.create_session(command=SHELL, env=ENVIRONMENT, name="watched", labels={"team": "web"})
    session = created["session_id"]
    page = await console("/sessions")
    shown = row(page, "watched")
    await shown.filter(has_text="last bump: created").wait_for()
    async with service.client(session) as one, service.client(session, role="viewer"):
        one.send_line("echo the last $((40 + 2))")
        await one.wait_for_output(rb"the last 42\r\n")
        for text in ("2 viewers", "kept alive by a viewer who is attached", "team=web", "ends in 5"):
            await shown.filter(has_text=text).wait_for()
        await page.tab.shoot("watched")
        one.send_line("printf 'half a li'; read")
        await shown.filter(has_text="Last output: half a li").wait_for()
    await shown.filter(has_text="0 viewers").wait_for()
    await service.delete(session)
    await page.page.get_by_role("row", name="ended ended watched").filter(has_text="deleted").wait_for()
    await page.tab.shoot("ended")


async def test_a_session_is_renamed_kept_and_ended_by_keys_in_the_list(console: Opens, service: SharedService) -> None:
    created = await service.create_session(command=SHELL, env=ENVIRONMENT, name="old name", ttl_seconds=1000)
    session = created["session_id"]
    page = await console("/sessions")
    await row(page, "old name").focus()
    await page.press("F2")
    await page.page.get_by_role("textbox", name="Name").fill("new name")
    await page.press("Enter")
    await has(service, session, name="new name")
    await row(page, "new name").wait_for()
    before = (await service.info(session))["expires_at"]
    await row(page, "new name").focus()
    await page.press("k")

    async def is_kept() -> bool:
        return bool((await service.info(session))["expires_at"] > before)

    await look_until(is_kept, "a later end")
    await row(page, "new name").focus()
    await page.press("Delete")
    await page.page.get_by_role("dialog").wait_for()
    await page.press("Escape")
    assert (await service.info(session))["state"] == "running"
    await row(page, "new name").focus()
    await page.press("Delete")
    await page.page.get_by_role("dialog").get_by_role("button", name="End the session").press("Enter")
    await has(service, session, state="ended")


async def test_a_session_lives_from_start_to_end_without_a_mouse(console: Opens, service: SharedService) -> None:
    page = await console()
    await page.button("Start a terminal").wait_for()
    await page.press("Enter")
    (terminal,) = await page.until_panes(1)
    first = await terminal.session()
    await page.until_terminal()
    await page.page.keyboard.type("echo first $((40 + 2))\n")
    await terminal.until("^first 42$")
    await page.press("Control+Alt+Enter")
    terminals = await page.until_panes(2)
    (second,) = {await each.session() for each in terminals} - {first}
    await look_until(lambda: _has_keyboard(page, second), "the new pane to have the keyboard")
    await page.page.keyboard.type("echo second $((40 + 3))\n")
    await terminals[1].until("^second 43$")
    await page.do("end this session")
    await page.page.get_by_role("dialog").wait_for()
    await page.tab.shoot("question")
    await page.press("Tab")
    await page.press("Enter")
    await has(service, second, state="ended")
    assert (await service.info(first))["state"] == "running"
    await page.press("Control+Shift+ArrowLeft")
    await look_until(lambda: _has_keyboard(page, first), "the first pane to have the keyboard")
    await page.page.keyboard.type("exit 7\n")
    view = await has(service, first, state="ended")
    assert view["exit_code"] == 7
    await page.tab.shoot("ended")


async def _has_keyboard(page: Console, session_id: str) -> bool:
    return bool(await page.page.evaluate(FOCUSED) == session_id)


FOCUSED = """() => {
  let element = document.activeElement;
  let session = null;
  while (element) {
    session = element.getAttribute?.("session") ?? session;
    element = element.shadowRoot?.activeElement;
  }
  return session;
}"""


async def test_metrics_are_drawn_from_what_the_service_counts(console: Opens, service: SharedService) -> None:
    flood = "yes \"$(printf 'y%.0s' $(seq 70))\" | head -c 3000000; exec cat"
    await service.create_session(command=["bash", "-c", flood], name="counted")
    page = await console("/metrics")
    sessions = page.page.get_by_role("img", name=re.compile(r"^Sessions and viewers.*Sessions 1\b"))
    await sessions.wait_for()
    assert await _is_drawn(sessions)
    output = page.page.get_by_role("img", name=re.compile("^Throughput"))
    again = await service.create_session(command=["bash", "-c", flood])
    await output.and_(page.page.get_by_role("img", name=re.compile("at most [0-9.]+ (kB|MB)"))).wait_for()
    await page.tab.shoot("metrics")
    await service.delete(again["session_id"])


async def _is_drawn(chart: Locator) -> bool:
    """Tell whether a canvas below it has anything on it."""
    return bool(
        await chart.evaluate(
            """image => {
                 const canvas = image.querySelector("canvas") ?? image;
                 const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                 return data.some((value) => value !== 0);
               }"""
        )
    )
