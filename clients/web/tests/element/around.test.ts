// @vitest-environment happy-dom
// What stands around the terminal: banners, status bar, dialogs. Drawn for facts as the service tells them.
import { render } from "lit";
import { beforeEach, describe, expect, it } from "vitest";
import { type BannerActions, banners } from "../../src/element/banners.ts";
import { cancel, dialog, type Question } from "../../src/element/dialogs.ts";
import { type FindBar, findBar, newFindBar } from "../../src/element/find_bar.ts";
import { cleanPaste, type Paste } from "../../src/element/paste_text.ts";
import { statusBar } from "../../src/element/status_bar.ts";
import { newView, type View } from "../../src/element/view.ts";

let place: HTMLElement;
let done: string[];
let view: View;

const actions: BannerActions = {
  reconnect: () => done.push("reconnect"),
  cancelPaste: () => done.push("cancel"),
  answerCopy: (how) => done.push(how),
  dismiss: (what) => done.push(what),
};

beforeEach(() => {
  place = document.createElement("div");
  document.body.replaceChildren(place);
  done = [];
  view = newView();
});

function words(): string {
  return (place.textContent ?? "").replace(/\s+/g, " ").trim();
}

function shown(facts: Partial<View>, dismissed: string[] = []): string {
  render(banners({ ...view, ...facts }, actions, 10_000, new Set(dismissed)), place);
  return words();
}

function press(label: string): void {
  const named = (button: HTMLButtonElement) =>
    button.getAttribute("aria-label") === label || button.textContent?.trim() === label;
  [...place.querySelectorAll("button")].find(named)?.click();
}

describe("banners", () => {
  it("say nothing while all is well", () => {
    expect(shown({ state: "open", wasOpen: true })).toBe("");
  });

  it("say that the connection is gone, what waits, and when it is tried again", () => {
    const text = shown({ state: "waiting", wasOpen: true, pendingBytes: 12, retryAt: 13_500 });
    expect(text).toContain("the session goes on");
    expect(text).toContain("12 bytes typed and waiting");
    expect(text).toContain("trying again in 4 s");
    press("Try now");
    expect(done).toEqual(["reconnect"]);
  });

  it("say that there was never a connection", () => {
    expect(shown({ state: "waiting", retryAt: 10_000 })).toContain("There is no connection yet");
  });

  it("say why the service refuses", () => {
    expect(shown({ state: "refused", code: 4403, reason: "not yours" })).toContain("You may not open this terminal");
  });

  it("say how the program ended, until that is closed", () => {
    const ended = { reason: "Process exited", exitCode: 3, signal: null, message: "" };
    expect(shown({ state: "ended", ended })).toContain("exit code 3");
    press("Close");
    expect(done).toEqual(["ended"]);
    expect(shown({ state: "ended", ended }, ["ended"])).toBe("");
  });

  it("say that output would not survive", () => {
    expect(shown({ storage: { durable: false, reason: "disk full" } })).toContain("in memory only (disk full)");
  });

  it("say that the server goes, for as long as the session lives", () => {
    const told = { draining: Date.UTC(2026, 0, 2, 12) };
    expect(shown(told)).toContain("is being shut down");
    expect(shown(told)).toContain("26");
    const ended = { reason: "Process exited", exitCode: 0, signal: null, message: "" };
    expect(shown({ ...told, state: "ended", ended })).not.toContain("is being shut down");
  });

  it("say what the place of the session says, in its words, until it is closed", () => {
    const notice = { kind: "link_lost", message: "connection to build1 lost, trying again", seq: 0, at: 0, fields: {} };
    const told = { state: "open", notice } as const;
    expect(shown(told)).toContain("connection to build1 lost, trying again");
    press("Close");
    expect(done).toEqual([`notice ${notice.message}`]);
    expect(shown(told, done)).toBe("");
    expect(shown({ ...told, notice: { ...notice, message: "given up" } }, done)).toContain("given up");
    expect(shown({ ...told, state: "waiting" })).not.toContain("build1");
  });

  it("say what was not taken", () => {
    expect(shown({ droppedBytes: 2000 })).toContain("2.0 KB were not taken");
  });

  it("ask before a program writes to the clipboard", () => {
    expect(shown({ copying: "x".repeat(80) })).toContain("(80 characters)");
    for (const label of ["Allow once", "Always in this session", "Never"]) press(label);
    expect(done).toEqual(["once", "always", "never"]);
  });

  it("show how far a paste is, and stop it", () => {
    expect(shown({ progress: { sentBytes: 1_000_000, totalBytes: 5_000_000 } })).toContain("1.0 MB of 5.0 MB");
    press("Cancel");
    expect(done).toEqual(["cancel"]);
  });

  it("tell a gap", () => {
    expect(shown({ passing: { lostBytes: 3_100_000, reason: "skipped" } })).toBe("skipped 3.1 MB");
  });
});

describe("the status bar", () => {
  const viewer = { client_id: "1", user: "ada", role: "writer" as const, rows: 24, cols: 80, position: 0 };

  function bar(facts: Partial<View>, readOnly = false): string {
    render(statusBar({ ...view, ...facts }, "1", readOnly), place);
    return words();
  }

  it("tells state, size, link and who is here", () => {
    const link = { rttMs: 12, lagBytes: 3_100_000, mode: "live" as const };
    const text = bar({ state: "open", link, viewers: [viewer], responder: "1", skippedBytes: 5_000_000 });
    expect(text).toContain("connected 80×24");
    expect(text).toContain("skipped 5.0 MB live 3.1 MB behind 12 ms");
    expect(text).toContain("ada (you), may type, answers the program's questions");
  });

  it("tells that one only looks, and that old output comes", () => {
    expect(bar({ state: "open", replaying: true }, true)).toContain("replaying read only");
  });

  it("tells nothing old of a link that is gone", () => {
    expect(bar({ state: "waiting", link: { rttMs: 12, lagBytes: 1e6, mode: "exact" } })).not.toContain("12 ms");
  });

  it("names the first viewers and counts the others", () => {
    const viewers = Array.from({ length: 9 }, (_, index) => ({ ...viewer, client_id: String(index) }));
    expect(bar({ viewers })).toContain("+3");
  });
});

describe("questions", () => {
  function ask(text: string): (Paste | null)[] {
    const answers: (Paste | null)[] = [];
    const question: Question = { kind: "paste", paste: cleanPaste(text), answer: (paste) => answers.push(paste) };
    render(dialog(question), place);
    return answers;
  }

  it("show what would be pasted and take an answer", () => {
    const answers = ask("one\ntwo\n");
    expect(words()).toContain("2 lines, 8 bytes.");
    expect(words()).toContain("runs the last line at once");
    press("Paste");
    press("Paste as one line");
    press("Cancel");
    expect(answers.map((paste) => paste?.text)).toEqual(["one\rtwo\r", "one two", undefined]);
  });

  it("take Esc for a no", () => {
    const answers = ask("one\n");
    place.querySelector("dialog")?.dispatchEvent(new Event("cancel", { cancelable: true }));
    expect(answers).toEqual([null]);
  });

  it("show where a link leads, and open nothing unasked", () => {
    const answers: boolean[] = [];
    const target = { href: "https://evil.example/x", where: "evil.example" };
    const question: Question = { kind: "link", text: "bank.com", target, answer: (yes) => answers.push(yes) };
    render(dialog(question), place);
    expect(words()).toContain("Open evil.example?");
    cancel(question);
    press("Open");
    expect(answers).toEqual([false, true]);
  });
});

describe("the find bar", () => {
  it("tells what is found, and finds up with Enter and down with Shift+Enter", () => {
    const bar: FindBar = { ...newFindBar(), text: "x", found: { index: 2, count: 17 } };
    const findActions = {
      find: (options: { backwards?: boolean }) => done.push(options.backwards ? "up" : "down"),
      change: (change: Partial<FindBar>) => Object.assign(bar, change),
      close: () => done.push("close"),
    };
    render(findBar(bar, findActions), place);
    expect(words()).toContain("3 of 17");
    const input = place.querySelector("input");
    for (const init of [{ key: "Enter" }, { key: "Enter", shiftKey: true }, { key: "Escape" }]) {
      input?.dispatchEvent(new KeyboardEvent("keydown", { ...init, bubbles: true }));
    }
    press("Regular expression");
    expect(done).toEqual(["up", "down", "close"]);
    expect(bar.regex).toBe(true);
  });
});
