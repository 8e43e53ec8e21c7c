// Texts, titles, links, keys, sizes: the small pure rules.
import { describe, expect, it } from "vitest";
import { pasteSummary } from "../../src/element/dialogs.ts";
import { fitting, scaledFontSize, sizeNote } from "../../src/element/fit.ts";
import { keySequence } from "../../src/element/keys.ts";
import { isMisleading, type LinkTarget, safeTarget } from "../../src/element/link_check.ts";
import { readClipboardRequest } from "../../src/element/osc52.ts";
import { cleanPaste } from "../../src/element/paste_text.ts";
import { people, whoIs } from "../../src/element/people.ts";
import { endedText, formatBytes, formatRtt, gapText, refusedText, retryText } from "../../src/element/texts.ts";
import { isLight, THEMES, themeNamed } from "../../src/element/themes.ts";
import { cleanTitle } from "../../src/element/title.ts";

describe("sizes in words", () => {
  it.each([
    [0, "0 bytes"],
    [1, "1 byte"],
    [999, "999 bytes"],
    [1000, "1.0 KB"],
    [9949, "9.9 KB"],
    [9950, "10 KB"],
    [999_499, "999 KB"],
    [999_500, "1.0 MB"],
    [3_100_000, "3.1 MB"],
    [5e15, "5000 TB"],
  ])("%i bytes are %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it.each([
    [null, "–"],
    [0.4, "<1 ms"],
    [12.4, "12 ms"],
    [1400, "1.4 s"],
  ])("a round trip of %s is %s", (rtt, text) => expect(formatRtt(rtt)).toBe(text));
});

describe("what happened in words", () => {
  it("tells a gap with its size", () => {
    expect(gapText(3_100_000, "skipped")).toBe("skipped 3.1 MB");
    expect(gapText(3_100_000, "trimmed")).toBe("skipped 3.1 MB, no longer kept");
    expect(gapText(0, "torn")).not.toContain("0 bytes");
  });

  it("tells how a program ended", () => {
    const ended = { reason: "Process exited", exitCode: null, signal: null, message: "" };
    expect(endedText({ ...ended, exitCode: 3 })).toBe("The program ended with exit code 3");
    expect(endedText({ ...ended, signal: "SIGKILL", message: "out of memory" })).toBe(
      "The program was ended by SIGKILL (out of memory)",
    );
    expect(endedText({ ...ended, reason: "Expired" })).toBe("The session is over (Expired)");
    expect(endedText({ ...ended, reason: "no pod (Evicted)" })).toBe("The session is over: no pod (Evicted)");
    expect(endedText({ ...ended, reason: "place_lost", message: "the container was removed" })).toBe(
      "The session is lost: the container was removed",
    );
    expect(endedText({ ...ended, reason: "link_lost" })).toBe("The session is lost: the link to where it ran is gone");
  });

  it("tells why it was refused", () => {
    expect(refusedText(4404, "Session not found")).toBe("There is no such session (any more)");
    expect(refusedText(4403, "not yours")).toBe("You may not open this terminal (not yours)");
    expect(refusedText(null, "")).toBe("The service refused the connection");
    expect(refusedText(4999, "because")).toBe("The service refused the connection (because)");
  });

  it("tells when it tries again", () => {
    expect(retryText(-5)).toBe("trying again now");
    expect(retryText(3200)).toBe("trying again in 4 s");
  });

  it("tells what would be pasted", () => {
    expect(pasteSummary(cleanPaste("a\nb"))).toBe("2 lines, 3 bytes");
    expect(pasteSummary(cleanPaste("a\x1b"))).toBe("1 line, 1 byte; 1 control character was taken out");
  });
});

describe("a title", () => {
  it("is one line without anything that hides or reorders", () => {
    expect(cleanTitle(" a\u202eb\n\tc\u200b\u0007\ufeff ")).toBe("a b c");
  });

  it("has at most 256 characters, whole ones", () => {
    const title = cleanTitle("😀".repeat(300));
    expect([...title]).toHaveLength(256);
    expect(title.endsWith("😀…")).toBe(true);
  });
});

describe("a link", () => {
  it.each([
    "javascript:alert(1)",
    "file:///etc/passwd",
    "data:text/html,x",
    "ssh://host",
    "vscode://x",
    "no address",
    "",
  ])("to %j is not opened", (uri) => expect(safeTarget(uri)).toBeNull());

  it("to the web or a mailbox is", () => {
    expect(safeTarget("https://example.org/a")).toEqual({ href: "https://example.org/a", where: "example.org" });
    expect(safeTarget("mailto:ada@example.org")).toMatchObject({ where: "ada@example.org" });
  });

  it("shows names of other alphabets as what they are", () => {
    expect(safeTarget("https://аррle.com/")?.where).toMatch(/^xn--/);
  });

  it.each([
    ["https://bank.com", "https://evil.example/", true],
    ["bank.com", "https://evil.example/", true],
    ["www.bank.com/login", "https://bank.com.evil.example/", true],
    ["see (https://bank.com)", "https://evil.example", true],
    ["https://bank.com", "https://bank.com@evil.example/", true],
    ["click", "https://user:pw@evil.example/", true],
    ["https://bank.com/x", "https://www.bank.com/x", false],
    ["BANK.com", "https://bank.com/x", false],
    ["click here", "https://evil.example/", false],
    ["main.rs", "https://github.com/x/main.rs", false],
    ["#42", "https://github.com/x/42", false],
    ["ada@bank.com", "mailto:eve@evil.example", true],
    ["ada@bank.com", "mailto:ada@bank.com", false],
  ])("that says %j and leads to %j is misleading: %s", (text, uri, misleading) => {
    expect(isMisleading(text, safeTarget(uri) as LinkTarget)).toBe(misleading);
  });
});

describe("a key", () => {
  it.each([
    ["Escape", {}, "\x1b"],
    ["Enter", {}, "\r"],
    ["Tab", { shift: true }, "\x1b[Z"],
    ["Backspace", {}, "\x7f"],
    ["Backspace", { alt: true }, "\x1b\x7f"],
    ["ArrowUp", {}, "\x1b[A"],
    ["ArrowUp", { ctrl: true }, "\x1b[1;5A"],
    ["Home", {}, "\x1b[H"],
    ["F1", {}, "\x1bOP"],
    ["F1", { shift: true }, "\x1b[1;2P"],
    ["F5", {}, "\x1b[15~"],
    ["Delete", { ctrl: true, alt: true, shift: true }, "\x1b[3;8~"],
    ["c", { ctrl: true }, "\x03"],
    ["C", { ctrl: true }, "\x03"],
    ["[", { ctrl: true }, "\x1b"],
    [" ", { ctrl: true }, "\0"],
    ["Space", { ctrl: true }, "\0"],
    ["x", { alt: true }, "\x1bx"],
    ["x", { shift: true }, "X"],
    ["é", {}, "é"],
  ])("%s with %j sends %j", (name, modifiers, data) => expect(keySequence(name, modifiers, false)).toBe(data));

  it("respects application cursor keys, without modifiers", () => {
    expect(keySequence("ArrowUp", {}, true)).toBe("\x1bOA");
    expect(keySequence("Home", {}, true)).toBe("\x1bOH");
    expect(keySequence("ArrowUp", { alt: true }, true)).toBe("\x1b[1;3A");
  });

  it("that does not exist sends nothing", () => {
    expect(keySequence("Hyper", {}, false)).toBeNull();
    expect(keySequence("toString", {}, false)).toBeNull();
  });
});

describe("the size", () => {
  const cell = { width: 8, height: 16 };

  it("is what fits beside the scroll bar, within what the service takes", () => {
    expect(fitting({ width: 654, height: 400 }, cell, 14)).toEqual({ rows: 25, cols: 80 });
    expect(fitting({ width: 1, height: 1 }, cell, 14)).toEqual({ rows: 1, cols: 2 });
    expect(fitting({ width: 1e6, height: 1e6 }, cell, 0)).toEqual({ rows: 1000, cols: 1000 });
  });

  it("is unknown while nothing can be measured", () => {
    expect(fitting({ width: 0, height: 0 }, cell, 14)).toBeNull();
    expect(fitting({ width: 100, height: 100 }, { width: 0, height: 16 }, 14)).toBeNull();
  });

  it("of a larger terminal is met by smaller letters, down to what can be read", () => {
    const fits = { rows: 24, cols: 80 };
    expect(scaledFontSize(14, fits, { rows: 24, cols: 80 }, 9)).toBe(14);
    expect(scaledFontSize(14, fits, { rows: 10, cols: 100 }, 9)).toBe(11);
    expect(scaledFontSize(14, fits, { rows: 10, cols: 500 }, 9)).toBe(9);
    expect(scaledFontSize(8, fits, { rows: 10, cols: 500 }, 9)).toBe(8);
  });

  it("is told with who decided it", () => {
    expect(sizeNote({ rows: 24, cols: 80 }, "ada")).toBe("80×24, decided by ada");
    expect(sizeNote({ rows: 24, cols: 80 }, "")).toBe("80×24");
  });
});

describe("the clipboard of a program", () => {
  it("reads what is to be written", () => {
    expect(readClipboardRequest("c;aMOp")).toEqual({ kind: "write", text: "hé" });
    expect(readClipboardRequest("c;?")).toEqual({ kind: "read" });
  });

  it.each(["c", "c;***", "c;/w==", `c;${"A".repeat(1_400_001)}`])("refuses what is none", (payload) => {
    expect(readClipboardRequest(payload).kind).toBe("invalid");
  });
});

describe("viewers", () => {
  const viewer = (client_id: string, user: string, role: "writer" | "viewer" = "writer") => {
    return { client_id, user, role, rows: 24, cols: 80, position: 0 };
  };

  it("are shown with oneself first, and who answers", () => {
    const shown = people([viewer("1", "ada lovelace"), viewer("2", "bob", "viewer")], "2", "1");
    expect(shown.map((person) => person.initials)).toEqual(["BO", "AL"]);
    expect(shown[0]).toMatchObject({ isSelf: true, isWriter: false, answers: false });
    expect(shown[1]).toMatchObject({ isSelf: false, answers: true });
  });

  it("have names, and one who has left has none", () => {
    const here = [viewer("1", "ada"), viewer("25f3", "")];
    expect(whoIs(here, "1", "1")).toBe("you");
    expect(whoIs(here, "1", "2")).toBe("ada");
    expect(whoIs(here, "25f3", "1")).toBe("guest 25f3");
    expect(whoIs(here, "9", "1")).toBe("");
    expect(whoIs(here, null, "1")).toBe("");
  });
});

describe("a theme", () => {
  it("follows the system unless it is named", () => {
    expect(themeNamed("auto", true)).toEqual(THEMES["light"]);
    expect(themeNamed("auto", false)).toEqual(THEMES["dark"]);
    expect(themeNamed("solarized-light", false)).toEqual(THEMES["solarized-light"]);
    expect(themeNamed("constructor", false)).toEqual(THEMES["dark"]);
  });

  it("has all sixteen colours, as six digits", () => {
    for (const theme of Object.values(THEMES)) {
      expect(Object.values(theme).length).toBe(21);
      for (const colour of Object.values(theme)) expect(colour).toMatch(/^#[0-9a-f]{6}$/);
    }
  });

  it("is light or dark", () => {
    expect(isLight("#fdf6e3")).toBe(true);
    expect(isLight("#fff")).toBe(true);
    expect(isLight("#002b36")).toBe(false);
    expect(isLight("red")).toBe(false);
  });
});
