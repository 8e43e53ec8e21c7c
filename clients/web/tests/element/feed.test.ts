// The feed with the real emulator: order, positions, and who is answered.
import { Terminal } from "@xterm/headless";
import type { Terminal as BrowserTerminal } from "@xterm/xterm";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Feed, PIECE_BYTES } from "../../src/element/feed.ts";
import { onUserInput } from "../../src/element/internals.ts";
import { Outgoing } from "../../src/element/outgoing.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const QUESTIONS = "\x1b[c\x1b[6n\x1b[5n\x1b[>c\x1b[?6n\x1bP$qm\x1b\\";

let terminal: Terminal;
let feed: Feed;
let sent: string[];
let outgoing: Outgoing;
let errors: unknown[];

beforeEach(() => {
  terminal = new Terminal({ cols: 80, rows: 24, allowProposedApi: true });
  errors = [];
  sent = [];
  feed = new Feed(terminal, (error) => errors.push(error));
  outgoing = new Outgoing(
    () => feed.replaying === false,
    (data) => sent.push(data),
  );
  // The headless build has the same core; its type lacks what only a browser has.
  onUserInput(terminal as unknown as BrowserTerminal, () => outgoing.userInput());
  terminal.onData((data) => outgoing.data(data));
});

afterEach(() => terminal.dispose());

function parsed(): Promise<void> {
  return new Promise((resolve) => feed.afterwards(resolve));
}

const ignore = () => undefined;

describe("old output", () => {
  it("is never answered", async () => {
    feed.output(bytes(QUESTIONS), true, ignore);
    await parsed();
    expect(sent).toEqual([]);
    expect(outgoing.withheld).toBeGreaterThan(3);
  });

  it("is not answered where it is followed by new output before it was parsed", async () => {
    feed.output(bytes(QUESTIONS), true, ignore);
    feed.output(bytes("\x1b[5n"), false, ignore);
    await parsed();
    expect(sent).toEqual(["\x1b[0n"]);
  });

  it.each(Array.from({ length: 3 }, (_, cut) => cut + 1))(
    "is not answered where its last question ends in new output, cut at %i",
    async (cut) => {
      feed.output(bytes("\x1b[5n".slice(0, cut)), true, ignore);
      feed.output(bytes(`${"\x1b[5n".slice(cut)}\x1b[6n`), false, ignore);
      await parsed();
      expect(sent).toEqual(["\x1b[1;1R"]);
    },
  );

  it("does not keep typing from the shell", async () => {
    feed.output(bytes(QUESTIONS.repeat(50)), true, ignore);
    terminal.input("ls\r", true);
    await parsed();
    expect(sent).toEqual(["ls\r"]);
  });

  it("is not answered although it is parsed at once after typing", () => {
    terminal.input("x", true);
    feed.output(bytes("\x1b[5n"), true, ignore);
    expect(sent).toEqual(["x"]);
  });
});

describe("new output", () => {
  it("is answered", async () => {
    feed.output(bytes("\x1b[5n\x1b[6n"), false, ignore);
    await parsed();
    expect(sent).toEqual(["\x1b[0n", "\x1b[1;1R"]);
  });

  it("is not answered from a preamble", async () => {
    feed.preamble(bytes("\x1b[5n\x1b[?1"));
    feed.output(bytes("h\x1b[5n"), false, ignore);
    await parsed();
    expect(sent).toEqual(["\x1b[0n"]);
    expect(terminal.modes.applicationCursorKeysMode).toBe(true);
  });
});

describe("order", () => {
  it("resizes between the output before and behind", async () => {
    const widths: number[] = [];
    feed.output(bytes("a".repeat(100)), false, () => widths.push(terminal.cols));
    feed.afterwards(() => terminal.resize(40, 10));
    feed.output(bytes("b"), false, () => widths.push(terminal.cols));
    await parsed();
    expect(widths).toEqual([80, 40]);
  });

  it("does at once what has nothing before it", () => {
    let done = false;
    feed.afterwards(() => {
      done = true;
    });
    expect(done).toBe(true);
  });

  it("tells positions piece by piece, and says how much waits", async () => {
    const positions: number[] = [];
    const data = new Uint8Array(PIECE_BYTES * 2 + 10).fill(0x61);
    feed.output(data, false, (upTo) => positions.push(upTo));
    expect(feed.pendingBytes).toBe(data.length);
    await parsed();
    expect(positions).toEqual([PIECE_BYTES, PIECE_BYTES * 2, data.length]);
    expect(feed.pendingBytes).toBe(0);
    expect(feed.replaying).toBeNull();
  });

  it("goes on after a listener that throws", async () => {
    feed.output(bytes("a"), false, () => {
      throw new Error("mine");
    });
    feed.output(bytes("b"), false, ignore);
    await parsed();
    expect(errors).toHaveLength(1);
    expect(terminal.buffer.active.getLine(0)?.translateToString(true)).toBe("ab");
  });

  it("tells nobody after it was closed", async () => {
    let told = 0;
    feed.output(bytes("a"), false, () => {
      told += 1;
    });
    feed.close();
    await new Promise<void>((resolve) => terminal.write("", resolve));
    expect(told).toBe(0);
  });
});
