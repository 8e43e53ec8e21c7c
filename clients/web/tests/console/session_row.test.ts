// @vitest-environment happy-dom
import { render } from "lit";
import { describe, expect, test } from "vitest";
import type { Session } from "../../src/console/session.ts";
import { sessionRow } from "../../src/console/session_row.ts";
import { ended, NOW, session } from "./sessions.ts";

const look = { now: NOW, isCurrent: false, isOpen: false, isRenaming: false, isBusy: false, filterBy: () => {} };
const lost = { kind: "link_lost", message: "the link is cut: connection refused", timestamp: NOW - 5 };

function stateOf(one: Session): { mark: string; words: string; title: string | null } {
  const place = document.createElement("div");
  render(sessionRow(one, look), place);
  const mark = place.querySelector(".mark");
  const words = mark?.nextElementSibling;
  return { mark: mark?.className ?? "", words: words?.textContent ?? "", title: mark?.getAttribute("title") ?? null };
}

describe("the state in a row", () => {
  test("is that of the session", () => {
    expect(stateOf(session())).toEqual({ mark: "mark running", words: "running", title: "running" });
    expect(stateOf(ended())).toEqual({ mark: "mark ended", words: "ended", title: "ended" });
  });

  test("does not look well while the link to its place is lost, and says why", () => {
    expect(stateOf(session({ notice: lost }))).toEqual({ mark: "mark", words: "link lost", title: lost.message });
  });

  test("is its own again when the link is back, or it has ended", () => {
    const back = { kind: "link_back", message: "the link is back", timestamp: NOW - 1 };
    expect(stateOf(session({ notice: back })).words).toBe("running");
    expect(stateOf(ended({ notice: lost })).words).toBe("ended");
  });
});
