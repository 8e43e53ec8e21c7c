import { Client } from "./client.ts";
import type { Options, TerminalClient } from "./types.ts";

export type * from "./types.ts";

/** Make a client of one terminal; `start` connects it. Throws TypeError for an address or options that cannot work. */
export function createClient(options: Options): TerminalClient {
  return new Client(options);
}
