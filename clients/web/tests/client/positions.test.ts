import { beforeEach, describe, expect, test } from "vitest";
import { ACK_BYTES, Positions } from "../../src/client/positions.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (taken: unknown) => (taken instanceof Uint8Array ? new TextDecoder().decode(taken) : taken);

let positions: Positions;

beforeEach(() => {
  positions = new Positions();
  positions.restart(100, 100, 262_144);
});

describe("output", () => {
  test("goes on where it had come to", () => {
    expect(text(positions.take(bytes("abc"), 103))).toBe("abc");
    expect(text(positions.take(bytes("de"), 105))).toBe("de");
    expect(positions.received).toBe(105);
  });

  test("that was there already is not given out again", () => {
    positions.take(bytes("abc"), 103);
    expect(positions.take(bytes("abc"), 103)).toBe("nothing");
    expect(positions.take(bytes("b"), 102)).toBe("nothing");
    expect(text(positions.take(bytes("bcde"), 105))).toBe("de");
    expect(positions.received).toBe(105);
  });

  test("behind a hole is not taken", () => {
    expect(positions.take(bytes("x"), 102)).toBe("hole");
    expect(positions.received).toBe(100);
  });
});

describe("a new connection", () => {
  test("goes on from what was received, rendered or not", () => {
    positions.take(bytes("abc"), 103);
    positions.render(101);
    expect(positions.resume(101, 200, 1000)).toBe(false);
    expect(positions.resume(103, 200, 1000)).toBe(true);
    expect(positions.rendered).toBe(101);
    expect(positions.lagBytes).toBe(99);
  });

  test("acknowledges again only what is rendered beyond its start", () => {
    positions.take(bytes("abc"), 103);
    positions.resume(103, 103, 1000);
    positions.render(103);
    expect(positions.owesAck).toBe(false);
    positions.take(bytes("d"), 104);
    positions.render(104);
    expect(positions.owesAck).toBe(true);
    expect(positions.ack()).toBe(104);
    expect(positions.owesAck).toBe(false);
  });

  test("whose positions mean something new forgets the old ones", () => {
    positions.take(new Uint8Array(5000), 5100);
    positions.restart(10, 50, 1000);
    expect(positions.unrenderedBytes).toBe(0);
    expect(positions.lagBytes).toBe(40);
    positions.render(5100); // what an emulator's queue still had
    expect(positions.rendered).toBe(10);
  });
});

describe("acknowledgements", () => {
  test("are due every 32 KiB", () => {
    positions.take(new Uint8Array(100_000), 100_100);
    expect(positions.render(100 + ACK_BYTES - 1)).toBe(false);
    expect(positions.render(100 + ACK_BYTES)).toBe(true);
    expect(positions.ack()).toBe(100 + ACK_BYTES);
    expect(positions.render(100 + ACK_BYTES + 1)).toBe(false);
  });

  test("are due four times in a small window, which so never starves", () => {
    positions.restart(0, 0, 4096);
    positions.take(new Uint8Array(4096), 4096);
    expect(positions.render(1023)).toBe(false);
    expect(positions.render(1024)).toBe(true);
  });

  test("never go back, nor beyond what was received", () => {
    positions.take(bytes("abc"), 103);
    positions.render(1_000_000);
    expect(positions.rendered).toBe(103);
    positions.render(101);
    expect(positions.ack()).toBe(103);
  });
});

describe("a gap", () => {
  test("is passed when everything before it is rendered", () => {
    positions.take(bytes("abc"), 103);
    expect(positions.skip(103, 1103)).toBe(true);
    expect(positions.received).toBe(1103);
    expect(positions.unrenderedBytes).toBe(3);
    positions.render(103);
    expect(positions.rendered).toBe(1103);
    expect(positions.lagBytes).toBe(0);
  });

  test("that does not begin where the output has come to is refused", () => {
    expect(positions.skip(101, 200)).toBe(false);
    expect(positions.received).toBe(100);
  });

  test("of what was received is nothing new", () => {
    positions.take(bytes("abc"), 103);
    expect(positions.skip(100, 103)).toBe(true);
    expect(positions.skip(103, 103)).toBe(true); // torn
    expect(positions.received).toBe(103);
  });

  test("counts as one with the next where there are too many to remember", () => {
    for (let index = 0; index < 1000; index += 1) {
      const at = 100 + index * 11;
      positions.take(bytes("x"), at + 1);
      expect(positions.skip(at + 1, at + 11)).toBe(true);
    }
    expect(positions.unrenderedBytes).toBeLessThanOrEqual(1000);
    positions.render(100 + 1000 * 11);
    expect(positions.lagBytes).toBe(0);
  });
});
