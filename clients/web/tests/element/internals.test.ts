// @vitest-environment happy-dom
// What is used of xterm.js' inside must be there, or be missed loudly; and styles must not be inline.
import { Terminal as Headless } from "@xterm/headless";
import type { Terminal } from "@xterm/xterm";
import { describe, expect, it } from "vitest";
import { drawnCell, onUserInput, openStrictly, showCursorAtOnce, XtermChanged } from "../../src/element/internals.ts";
import { strictDocument } from "../../src/element/strict_document.ts";

const changed = { _core: {} } as unknown as Terminal;

describe("the inside of xterm.js", () => {
  it("is missed loudly where an upgrade took something away", () => {
    expect(() => onUserInput(changed, () => undefined)).toThrow(XtermChanged);
    expect(() => showCursorAtOnce(changed)).toThrow(XtermChanged);
    expect(() => drawnCell(changed)).toThrow(XtermChanged);
    expect(() => openStrictly(changed, document.body, document)).toThrow(XtermChanged);
    expect(() => onUserInput({} as unknown as Terminal, () => undefined)).toThrow("_core");
  });

  it("announces typing just before its data, and answers not at all", async () => {
    const terminal = new Headless({ allowProposedApi: true });
    const order: string[] = [];
    onUserInput(terminal as unknown as Terminal, () => order.push("typing"));
    terminal.onData((data) => order.push(data));
    terminal.input("a", true);
    await new Promise<void>((resolve) => terminal.write("\x1b[5n", resolve));
    expect(order).toEqual(["typing", "a", "\x1b[0n"]);
    terminal.dispose();
  });

  it("prints no files and moves no windows, and a program learns nothing by asking", async () => {
    const terminal = new Headless({ allowProposedApi: true, cols: 40, rows: 4 });
    const answers: string[] = [];
    terminal.onData((data) => answers.push(data));
    const asked = "\x1b[5ia\x1b[4ib\x1b[18t\x1b[14t\x1b[21t\x1b[20t\x1b[3;9;9t\x1b[8;9;9tc";
    await new Promise<void>((resolve) => terminal.write(asked, resolve));
    expect(answers).toEqual([]);
    expect(terminal.buffer.active.getLine(0)?.translateToString(true)).toBe("abc");
    expect([terminal.cols, terminal.rows]).toEqual([40, 4]);
    terminal.dispose();
  });
});

describe("a strict document", () => {
  const root = document.createElement("div").attachShadow({ mode: "open" });
  const strict = strictDocument(document, root);

  it("is a document, and does what the document does", () => {
    expect(Object.getPrototypeOf(strict)).toBe(Object.getPrototypeOf(document)); // xterm.js looks with instanceof
    expect(strict.createElement("span").tagName).toBe("SPAN");
    expect(strict.createDocumentFragment().childNodes).toHaveLength(0);
    expect(strict.body).toBe(document.body);
  });

  it("gives styles that are sheets of the root, until they are removed", () => {
    const style = strict.createElement("style");
    expect(style.tagName).not.toBe("STYLE");
    style.textContent = "a { color: red; }";
    expect(root.adoptedStyleSheets).toHaveLength(1);
    expect(style.textContent).toBe("a { color: red; }");
    expect(style.childNodes).toHaveLength(0);
    style.textContent = "a { color: blue; }";
    expect(root.adoptedStyleSheets).toHaveLength(1);
    style.remove();
    expect(root.adoptedStyleSheets).toHaveLength(0);
  });
});
