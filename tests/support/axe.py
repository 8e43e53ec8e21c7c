"""axe-core in a page: what of it hinders people with disabilities (WCAG 2.2, levels A and AA, and best practice)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.service import ROOT

if TYPE_CHECKING:
    from playwright.async_api import Page

AXE = ROOT / "clients" / "web" / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
BEHIND = ["target-size", "color-contrast"]
"""Rules that mean nothing behind a modal dialog, which axe does not know from a box that covers things."""
RUN = """async ([tags, behind]) => {
  const modal = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.matches("dialog:modal")) return element;
      const found = element.shadowRoot && modal(element.shadowRoot);
      if (found) return found;
    }
    return null;
  };
  const isWithin = (node, top) => {
    for (; node; node = node.parentNode ?? node.host) if (node === top) return true;
    return false;
  };
  const top = modal(document);
  const { violations } = await axe.run(document, { runOnly: tags, resultTypes: ["violations"], elementRef: true });
  const lines = [];
  for (const { id, impact, help, nodes } of violations) {
    for (const { element, target, failureSummary } of nodes) {
      if (top && behind.includes(id) && !isWithin(element, top)) continue;
      lines.push(`${id} (${impact}): ${help}: ${target.flat(3).join(" ")}: ${failureSummary}`);
    }
  }
  return lines;
}"""


async def objections(page: Page) -> list[str]:
    """Return what axe finds wrong with what the page shows now."""
    if not AXE.exists():
        pytest.fail("axe-core is not installed: `make web` does that", pytrace=False)
    if not await page.evaluate("typeof axe === 'object'"):
        # By the debugger: the page's own policy lets no foreign script in.
        await page.evaluate(f"{AXE.read_text()};0")
    found: list[str] = await page.evaluate(RUN, [TAGS, BEHIND])
    return found
