import { describe, expect, it } from "vitest";
import { SequenceTracker } from "../../src/element/sequence.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function isOpenAfter(text: string): boolean {
  const tracker = new SequenceTracker();
  tracker.feed(bytes(text));
  return tracker.isOpen;
}

describe("a sequence tracker", () => {
  it.each([
    ["", false],
    ["text", false],
    ["\x1b", true],
    ["\x1b[", true],
    ["\x1b[6", true],
    ["\x1b[6n", false],
    ["\x1b[?1;2", true],
    ["\x1bc", false],
    ["\x1b(", true],
    ["\x1b(B", false],
    ["\x1b]11;?", true],
    ["\x1b]11;?\x07", false],
    ["\x1b]11;?\x1b", true],
    ["\x1b]11;?\x1b\\", false],
    ["\x1bP+q544e", true],
    ["\x1bP+q544e\x07", true],
    ["\x1bP+q544e\x1b\\", false],
    ["\x1b_G\x1b\\", false],
    ["\x1b[6\x18", false],
    ["\x1b]0;a\x1a", false],
    ["\u009b6", true],
    ["\u009b6n", false],
    ["\u009d11;?", true],
    ["\u009d11;?\u009c", false],
    ["\u00e9\u00c2", false],
    ["\x1b[\n6", true],
    ["\x1b]0;caf\u00e9 \u{1f600}", true],
  ])("knows whether %j ends within a sequence", (text, open) => {
    expect(isOpenAfter(text)).toBe(open);
  });

  it("takes a C1 control that is cut between its bytes", () => {
    const tracker = new SequenceTracker();
    tracker.feed(Uint8Array.of(0xc2));
    tracker.feed(Uint8Array.of(0x9b));
    expect(tracker.isOpen).toBe(true);
  });

  it("closes with exactly the bytes that belong to the open sequence", () => {
    const tracker = new SequenceTracker();
    tracker.feed(bytes("old \x1b[6"));
    expect(tracker.close(bytes("n new \x1b[6n"))).toBe(1);
    expect(tracker.isOpen).toBe(false);
    expect(tracker.close(bytes("\x1b[6"))).toBe(0);
  });

  it("goes on closing over several pieces", () => {
    const tracker = new SequenceTracker();
    tracker.feed(bytes("\x1b]52;c;"));
    expect(tracker.close(bytes("AAAA"))).toBe(4);
    expect(tracker.close(bytes("AA\x07$ "))).toBe(3);
  });
});
