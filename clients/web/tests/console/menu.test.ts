// @vitest-environment happy-dom
import { afterEach, expect, test, vi } from "vitest";
import "../../src/console/menu.ts";
import type { ConsoleMenu } from "../../src/console/menu.ts";

class Toggled extends Event {
  readonly newState = "closed";
}

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

test("a menu that closes gives the keyboard back to its button, unless somebody has taken it", async () => {
  const [anchor, other] = [document.createElement("button"), document.createElement("button")];
  const menu = document.createElement("console-menu") as ConsoleMenu;
  document.body.append(anchor, other, menu);
  await menu.updateComplete;
  const popover = menu.renderRoot.querySelector<HTMLElement>(".menu") as HTMLElement;
  Object.assign(popover, { showPopover: () => undefined, hidePopover: () => undefined }); // happy-dom has none
  vi.stubGlobal("ToggleEvent", Toggled); // nor that

  await menu.open(anchor, "More", [{ label: "One", command: "one" }]);
  expect(menu.shadowRoot?.activeElement?.textContent).toContain("One");
  popover.dispatchEvent(new Toggled("toggle"));
  expect(document.activeElement).toBe(anchor);

  other.focus();
  popover.dispatchEvent(new Toggled("toggle"));
  expect(document.activeElement).toBe(other);
});
