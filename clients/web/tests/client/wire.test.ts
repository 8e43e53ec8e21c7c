import { encode as pack } from "@msgpack/msgpack";
import { expect, test } from "vitest";
import { decode, WireError } from "../../src/client/wire.ts";

const output = { type: "output", data: new Uint8Array([1, 2]), seq: 2, timestamp: 1.5, replay: false };

test("a type that is not known is let pass", () => {
  expect(decode(pack({ type: "of_the_future", data: 1 }))).toBeNull();
  expect(decode(pack({ type: "constructor" }))).toBeNull();
});

test("fields that are not known are let pass", () => {
  expect(decode(pack({ later: { a: [1, null] }, ...output }))).toMatchObject({ type: "output", seq: 2 });
});

test.each([
  ["no map", 7],
  ["nothing", null],
  ["a list", [output]],
  ["bytes", new Uint8Array(3)],
  ["no type", { seq: 1 }],
  ["a type that is no text", { type: 1 }],
  ["text for bytes", { ...output, data: "ab" }],
  ["a negative position", { ...output, seq: -1 }],
  ["a broken position", { ...output, seq: 1.5 }],
  ["a position too large to be exact", { ...output, seq: 2 ** 53 }],
  ["no position", { ...output, seq: undefined }],
  ["a mark that is none", { ...output, replay: 1 }],
  ["a gap without reason", { type: "gap", first: 1, last: 2, lost_bytes: 1 }],
  ["a gap of an unknown kind", { type: "gap", first: 1, last: 2, lost_bytes: 1, reason: "fun" }],
  ["a viewer without name", { type: "viewers", viewers: [{ client_id: "a" }], responder: null }],
  ["viewers that are no list", { type: "viewers", viewers: {}, responder: null }],
  ["a ping of no time", { type: "ping", timestamp: Number.NaN }],
])("%s is refused", (_, message) => {
  expect(() => decode(pack(message))).toThrow(WireError);
});

test("what is no MessagePack is refused", () => {
  expect(() => decode(new Uint8Array([0xc1]))).toThrow(WireError);
  expect(() => decode(new Uint8Array(0))).toThrow(WireError);
  expect(() => decode(new TextEncoder().encode('{"type":"ping"}'))).toThrow(WireError);
});

test("output is a view of what arrived, not a copy", () => {
  const frame = pack({ type: "output", data: new Uint8Array(1000), seq: 1000, timestamp: 0.5, replay: true });
  const message = decode(frame);
  expect(message?.type === "output" && message.data.buffer).toBe(frame.buffer);
});

test("what was read stays as it was when more is read", () => {
  const first = decode(pack(output));
  decode(pack({ ...output, data: new Uint8Array([9, 9]), seq: 4 }));
  expect(first).toEqual(output);
});
