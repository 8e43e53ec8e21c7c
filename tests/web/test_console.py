"""The console's page: what a newcomer does, what the address keeps, what the keyboard can do, and phones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.wait import wait_until

if TYPE_CHECKING:
    from support.console import Console, Opens
    from support.shared import SharedService

PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}
CHORDS = (
    *("Control+Shift+ArrowLeft", "Control+Shift+ArrowRight", "Control+Shift+ArrowUp", "Control+Shift+ArrowDown"),
    *("Control+Alt+Period", "Control+Alt+Comma", "Control+Shift+1", "Control+Alt+Equal", "Control+Alt+0"),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_newcomer_has_one_thing_to_do_and_is_in_a_terminal(console: Opens, scheme: str) -> None:
    page = await console(color_scheme=scheme)
    await page.button("Start a terminal").wait_for()
    await page.is_accessible(f"empty-{scheme}")
    await page.button("Start a terminal").click()
    (terminal,) = await page.until_panes(1)
    await page.until_terminal()
    await page.page.keyboard.type("echo here I $((40 + 2))\n")
    await terminal.until("^here I 42$")
    assert await page.page.title() == "Terminal 1 · Terminal Service"
    await page.is_accessible(f"terminal-{scheme}")


async def test_tabs_and_splits_survive_reload_back_forward_and_being_sent_to_others(console: Opens) -> None:
    page = await console()
    await page.press("Control+Shift+Enter")
    await page.until_panes(1)
    await page.until_terminal()
    await page.press("Control+Shift+Enter")
    await page.until_address("^#/terminals/2/[^,]+,[^,]+$")
    (first,) = await page.until_panes(1)
    await page.until_terminal()
    await first.enter("echo I am the $((1 + 0))st")
    await page.press("Control+Alt+Enter")
    await page.until_panes(2)
    await page.until_terminal()
    await page.press("Control+Alt+Shift+Enter")
    await page.until_panes(3)
    await page.until_address(r"^#/terminals/2/[^,]+,\([^(]+\+\([^(]+:[^(]+\*\)\)$")
    await page.is_accessible("splits")
    address = page.address

    await page.page.reload()
    assert page.address == address
    (again, *_) = await page.until_panes(3)
    await again.until("^I am the 1st$")

    twin = await console(address)
    (same, *_) = await twin.until_panes(3)
    assert await same.session() == await first.session()

    await page.button("Sessions").click()
    await page.until_address("^#/sessions/")
    await page.page.go_back()
    await page.until_address("^#/terminals/")
    assert page.address == address
    await page.until_panes(3)


async def test_what_is_split_off_closed_and_gone_back_to_leaves_other_terminals_as_they_are(console: Opens) -> None:
    page = await console()
    await page.press("Control+Shift+Enter")
    (first,) = await page.until_panes(1)
    emulator = await first.element.evaluate_handle("element => element.terminal")
    await page.until_terminal()
    await page.press("Control+Alt+Enter")
    await page.until_panes(2)
    await page.page.go_back()
    await page.until_panes(1)
    await page.page.go_forward()
    await page.until_panes(2)
    await page.until_terminal()
    await page.press("Control+Shift+Backspace")
    (left,) = await page.until_panes(1)
    assert await left.element.evaluate("(element, before) => element.terminal === before", emulator)
    assert page.tab.watch.loads == 1


async def test_everything_can_be_done_by_keyboard_and_the_focus_returns(console: Opens) -> None:
    page = await console()
    await page.button("Start a terminal").wait_for()
    await page.press("Enter")
    await page.until_panes(1)
    first = await page.until_terminal()
    await page.press("Control+Shift+P")
    await page.is_accessible("palette")
    await page.press("Escape")
    assert await page.until_terminal() == first
    await page.do("split right")
    await page.until_panes(2)
    await wait_until(lambda: _other(page, first), description="the new pane to have the keyboard")
    await page.press("Control+Shift+ArrowLeft")
    assert await page.until_terminal() == first
    await page.press("Control+Shift+F1")
    await page.is_accessible("help")
    await page.press("Control+Shift+F1")
    assert await page.until_terminal() == first
    await page.press("Control+Shift+L")
    assert (await page.focus())[1] == ""
    await page.press("Escape")
    assert await page.until_terminal() == first
    await page.do("read only")
    await page.until_address("!view")
    await page.do("zoom")
    await page.until_panes(1)
    await page.do("zoom")
    await page.until_panes(2)


async def _other(page: Console, key: str) -> bool:
    return (await page.focus())[1] not in {"", key}


async def test_no_chord_of_the_page_reaches_the_program_and_every_plain_key_does(console: Opens) -> None:
    page = await console()
    await page.press("Control+Shift+Enter")
    (terminal,) = await page.until_panes(1)
    await page.until_terminal()
    await terminal.enter("stty -icanon -isig -echo; cat -v")
    await page.press(*CHORDS, "F1", "Control+l", "Control+p", "Alt+x", "?")
    await terminal.until(r"^\^\[OP\^L\^P\^\[x\?$")


async def test_a_divider_moves_by_hand_and_by_key_and_stays_after_a_reload(console: Opens) -> None:
    page = await console()
    await page.press("Control+Shift+Enter")
    await page.until_panes(1)
    await page.until_terminal()
    await page.press("Control+Alt+Enter")
    await page.until_panes(2)
    divider = page.page.get_by_role("separator")
    box = await divider.bounding_box()
    assert box is not None
    await page.page.mouse.move(box["x"] + 4, 300)
    await page.page.mouse.down()
    await page.page.mouse.move(box["x"] - 150, 300, steps=5)
    await page.page.mouse.up()
    await page.until_address(r"\)3\d(\.\d)?$")
    await divider.focus()
    await page.press("Shift+ArrowRight", "ArrowRight")
    await page.until_address(r"\)4\d(\.\d)?$")
    share = await divider.get_attribute("aria-valuenow")
    await page.page.reload()
    await page.until_panes(2)
    assert await divider.get_attribute("aria-valuenow") == share


async def test_an_address_of_junk_is_shown_as_far_as_it_means_something(console: Opens) -> None:
    page = await console("/terminals/77/((%%nonsense,<script>,(((:")
    await page.button("Start a terminal").wait_for()
    await page.page.goto(page.page.url.partition("#")[0] + "#/metrics/junk")
    await page.page.get_by_role("heading", name="Metrics").wait_for()


async def test_a_session_is_renamed_and_ended_from_its_pane_and_ending_asks_first(
    console: Opens, service: SharedService
) -> None:
    page = await console()
    await page.press("Control+Shift+Enter")
    (terminal,) = await page.until_panes(1)
    session = f"/api/v1/sessions/{await terminal.session()}"
    await page.page.get_by_role("button", name="More for").click()
    await page.is_accessible("menu")
    await page.page.get_by_role("menuitem", name="Rename…").click()
    await page.page.get_by_role("textbox", name="Name").fill("the build")
    await page.is_accessible("rename")
    await page.press("Enter")
    await page.page.get_by_role("tab", name="the build").wait_for()
    assert (await service.http.get(session)).json()["name"] == "the build"

    for answer, state in (("Cancel", "running"), ("End the session", "ended")):
        await page.page.get_by_role("button", name="More for").click()
        await page.page.get_by_role("menuitem", name="End session…").click()
        await page.is_accessible(f"end-{state}")
        await page.button(answer).click()
        if state == "ended":
            await terminal.until_state("ended")
        assert (await service.http.get(session)).json()["state"] == state
    await page.is_accessible("ended")
    await page.button("New session here").click()
    await page.until_panes(1)


async def test_the_look_that_was_chosen_is_remembered(console: Opens) -> None:
    page = await console(color_scheme="light")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    await page.button("Start a terminal").wait_for()
    light = await page.page.evaluate(ground)
    await page.do("theme light")
    await page.do("theme dark")
    await page.page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert await page.page.evaluate(ground) != light
    await page.page.reload()
    await page.page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    await page.do("theme")
    await page.page.wait_for_function("document.documentElement.dataset.theme === 'light'")


@pytest.mark.parametrize("view", ["Sessions", "Metrics", "Health"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_view_is_accessible(console: Opens, service: SharedService, view: str, scheme: str) -> None:
    await service.create_session(name="a session")
    page = await console(f"/{view.lower()}", color_scheme=scheme)
    if view == "Sessions":
        await page.page.get_by_text("a session").first.wait_for()
    else:
        await page.page.get_by_role("heading", name=view, exact=True).wait_for()
    await page.is_accessible(f"{view}-{scheme}")


async def test_a_phone_has_the_keys_that_its_keyboard_lacks(console: Opens) -> None:
    page = await console(**PHONE)
    await page.button("Start a terminal").tap()
    (terminal,) = await page.until_panes(1)
    await page.until_terminal()
    await page.is_accessible("phone")
    assert await page.small_targets() == []
    await terminal.enter("echo first; sleep 1000")
    await terminal.until("^first$")
    await page.button("Ctrl").tap()
    await page.page.keyboard.type("c")
    await terminal.until(r"\^C")
    assert await page.button("Ctrl").get_attribute("aria-pressed") == "false"
    await page.button("Up").tap()
    await terminal.until("# echo first; sleep 1000$|\\$ echo first; sleep 1000$")
    assert await page.until_terminal()
    await page.page.set_viewport_size({"width": 390, "height": 400})  # as with the on-screen keyboard
    await page.page.locator("console-bar").wait_for(state="detached")
    await page.is_accessible("phone-keyboard")


async def test_a_phone_shows_one_pane_of_many_and_switches(console: Opens) -> None:
    page = await console(**PHONE)
    for _ in range(2):
        await page.button("New session").tap()
        await page.until_panes(1)
        await page.until_terminal()
    await page.page.get_by_role("button", name="Switch terminal").tap()
    await page.is_accessible("phone-switch")
    await page.page.get_by_role("menuitemradio", name="Terminal 1").tap()
    await page.page.get_by_role("heading", name="Terminal 1").wait_for()
    await page.button("Menu").tap()
    await page.page.get_by_role("row", name="Terminal 2").first.wait_for()
    await page.is_accessible("phone-drawer")
    assert await page.small_targets() == []
