/** The address of an attach. */

import type { Mode, Role } from "./types.ts";

/** Where to go on: a position of an epoch, or a tail of so many bytes. */
export type Start = { position: number; epoch: string | null } | { tailBytes: number | null };

export interface Asked {
  clientId: string;
  role: Role;
  mode: Mode;
  start: Start;
  ticket: string | null;
}

/** Read the address of a terminal; http becomes ws. Throws TypeError for anything else. */
export function readAddress(url: string): URL {
  const address = new URL(url, globalThis.location?.href);
  if (address.protocol === "http:") address.protocol = "ws:";
  if (address.protocol === "https:") address.protocol = "wss:";
  if (address.protocol !== "ws:" && address.protocol !== "wss:") {
    throw new TypeError(`a terminal's address begins with ws: or wss:, not ${address.protocol}`);
  }
  address.hash = "";
  return address;
}

/** Return the address with what is asked for in its query. */
export function attachAddress(base: URL, asked: Asked): string {
  const address = new URL(base);
  const query = address.searchParams;
  query.set("client_id", asked.clientId);
  query.set("role", asked.role);
  query.set("mode", asked.mode);
  const { start } = asked;
  if ("position" in start) {
    query.set("recover_from", String(start.position));
    if (start.epoch !== null) query.set("epoch", start.epoch);
  } else if (start.tailBytes !== null) query.set("tail_bytes", String(start.tailBytes));
  if (asked.ticket !== null) query.set("ticket", asked.ticket);
  return address.href;
}
