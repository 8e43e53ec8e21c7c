// The golden vectors of the service: every message it sends is read, every message it reads is written byte by byte.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type ClientMessage, decode, encode, WireError } from "../../src/client/wire.ts";

interface Vector {
  name: string;
  from: "server" | "client";
  fields: Record<string, unknown>;
  msgpack: string;
}

const file = new URL("../../../../tests/wire/vectors.json", import.meta.url);
const vectors: Vector[] = JSON.parse(readFileSync(file, "utf8"));
const sentBy = (sender: string) => vectors.filter((vector) => vector.from === sender);
const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));

/** The fields with their bytes as MessagePack has them. */
function plain(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, isHex(value) ? bytes(value.hex) : value]),
  );
}

function isHex(value: unknown): value is { hex: string } {
  return typeof value === "object" && value !== null && "hex" in value && typeof value.hex === "string";
}

test("the vectors are there", () => {
  expect(sentBy("server").length).toBeGreaterThan(20);
  expect(sentBy("client").length).toBeGreaterThan(15);
});

describe("messages of the service", () => {
  test.each(sentBy("server"))("$name is read", ({ fields, msgpack }) => {
    expect(decode(bytes(msgpack))).toEqual(plain(fields));
  });

  test.each(sentBy("server"))("$name is not read when a byte is missing or too much", ({ msgpack }) => {
    const frame = bytes(msgpack);
    expect(() => decode(frame.subarray(0, -1))).toThrow(WireError);
    expect(() => decode(new Uint8Array([...frame, 0]))).toThrow(WireError);
  });
});

describe("messages of a client", () => {
  test.each(sentBy("client"))("$name is written byte by byte", ({ fields, msgpack }) => {
    expect(Buffer.from(encode(plain(fields) as ClientMessage)).toString("hex")).toBe(msgpack);
  });
});
