import { expect, test } from "vitest";
import { attachAddress, readAddress } from "../../src/client/address.ts";

const asked = { clientId: "zoë & co", role: "viewer", mode: "live", ticket: null } as const;

test.each([
  ["ws://host/ws/terminal/1", "ws://host/ws/terminal/1"],
  ["wss://host/deep/below/ws/terminal/1", "wss://host/deep/below/ws/terminal/1"],
  ["http://host:8081/ws/terminal/1", "ws://host:8081/ws/terminal/1"],
  ["https://host/ws/terminal/1#top", "wss://host/ws/terminal/1"],
])("%s is read", (url, expected) => {
  expect(readAddress(url).href).toBe(expected);
});

test.each(["ftp://host/x", "nonsense", "javascript:alert(1)", ""])("%j is refused", (url) => {
  expect(() => readAddress(url)).toThrow(TypeError);
});

test("a tail is asked for, of a size if one is wished", () => {
  const base = readAddress("ws://host/t");
  const query = (tailBytes: number | null) =>
    Object.fromEntries(new URL(attachAddress(base, { ...asked, start: { tailBytes } })).searchParams);
  expect(query(null)).toEqual({ client_id: "zoë & co", role: "viewer", mode: "live" });
  expect(query(0)).toMatchObject({ tail_bytes: "0" });
});

test("a position is asked for, with its epoch and a ticket, beside what the address had", () => {
  const base = readAddress("ws://host/t?tenant=a");
  const start = { position: 0, epoch: "e1" };
  const address = new URL(attachAddress(base, { ...asked, ticket: "t+/=", start }));
  expect(Object.fromEntries(address.searchParams)).toEqual({
    tenant: "a",
    client_id: "zoë & co",
    role: "viewer",
    mode: "live",
    recover_from: "0",
    epoch: "e1",
    ticket: "t+/=",
  });
  expect(base.search).toBe("?tenant=a");
});
