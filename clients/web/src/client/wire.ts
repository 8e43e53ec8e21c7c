/** The messages of `terminal.v1.msgpack`, and nothing else: docs/protocol.md. Only this module knows the encoding. */

import { Decoder, Encoder } from "@msgpack/msgpack";
import type { Attached, Mode, SignalName, Viewer } from "./types.ts";

export const SUBPROTOCOL = "terminal.v1.msgpack";

/** What the service says, by `type`; fields as on the wire (times in seconds). */
export interface ServerMessages {
  attached: Attached;
  output: { data: Uint8Array; seq: number; replay: boolean };
  replay_end: { seq: number };
  gap: {
    first: number;
    last: number;
    lost_bytes: number;
    reason: "trimmed" | "skipped" | "epoch" | "torn";
    preamble?: Uint8Array;
  };
  resize: { rows: number; cols: number; seq: number; client_id: string };
  heartbeat: { seq: number; expires_at: number | null; viewers: number };
  ping: { timestamp: number };
  pong: { timestamp: number };
  input_ack: { n: number };
  viewers: { viewers: Viewer[]; responder: string | null };
  flow_pause: { bytes: number };
  flow_resume: { bytes: number };
  storage: { durable: boolean; reason: string };
  draining: { deadline: number | null };
  notice: { kind: string; message: string; seq: number; timestamp: number; fields?: Record<string, unknown> };
  session_ended: { reason: string; exit_code: number | null; signal: string | null; message?: string };
  error: { code: string; error: string; expected?: number };
}

export type ServerMessage = {
  [Type in keyof ServerMessages]: { type: Type } & ServerMessages[Type];
}[keyof ServerMessages];

/** What a client says. */
export type ClientMessage =
  | { type: "input"; data: Uint8Array; n?: number }
  | { type: "resize"; rows: number; cols: number }
  | { type: "ack"; seq: number }
  | { type: "ack"; bytes: number }
  | { type: "signal"; name: SignalName }
  | { type: "mode"; mode: Mode }
  | { type: "ping"; timestamp: number }
  | { type: "pong"; timestamp: number }
  | { type: "window_update"; window_size: number }
  | { type: "detach" };

/** What arrived is not what the protocol says; the message names the type and the field. */
export class WireError extends Error {
  override name = "WireError";
}

const encoder = new Encoder<undefined>();
const decoder = new Decoder<undefined>();

/** Encode a message, fields in the order given: written as the golden vectors have them, it is equal byte by byte. */
export function encode(message: ClientMessage): Uint8Array<ArrayBuffer> {
  return encoder.encode(message);
}

/**
 * Decode what arrived; null for a type that is not known, which a later service may send.
 *
 * Bytes in the message are views of `frame`, not copies. Throws WireError; fields that are not known are let through.
 */
export function decode(frame: Uint8Array): ServerMessage | null {
  let message: unknown;
  try {
    message = decoder.decode(frame);
  } catch (error) {
    throw new WireError(`not MessagePack: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!isFields(message) || typeof message["type"] !== "string") throw new WireError("not a map with a type");
  const type = message["type"];
  const shape = SHAPES.get(type);
  if (shape === undefined) return null;
  for (const [field, check] of shape) {
    if (!check(message[field])) throw new WireError(`${type}: ${field} is not what it should be`);
  }
  return message as unknown as ServerMessage; // every field has just been looked at
}

type Check = (value: unknown) => boolean;

const isFields = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !ArrayBuffer.isView(value) && !Array.isArray(value);
const isText: Check = (value) => typeof value === "string";
const isTruth: Check = (value) => typeof value === "boolean";
const isNumber: Check = (value) => typeof value === "number" && Number.isFinite(value);
const isBytes: Check = (value) => value instanceof Uint8Array;
/** Positions beyond 2**53 would not be exact: rather an error than a byte twice. */
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isOneOf =
  (...names: string[]): Check =>
  (value) =>
    names.includes(value as string);
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);
const orNone =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);

const isRole = isOneOf("writer", "viewer", "owner");
const isMode = isOneOf("exact", "live", "frozen");

const VIEWER: Record<keyof Viewer, Check> = {
  client_id: isText,
  user: isText,
  role: isRole,
  rows: orNull(isCount),
  cols: orNull(isCount),
  position: isCount,
};
const isViewer: Check = (value) =>
  isFields(value) && Object.entries(VIEWER).every(([field, check]) => check(value[field]));

const FIELDS: { [Type in keyof ServerMessages]: Record<keyof ServerMessages[Type], Check> } = {
  attached: {
    session_id: isText,
    terminal_id: isText,
    client_id: isText,
    role: isRole,
    mode: isMode,
    recover: isOneOf("exact", "gap", "tail"),
    seq: isCount,
    head: isCount,
    first: isCount,
    epoch: isText,
    rows: isCount,
    cols: isCount,
    window: isCount,
    heartbeat_interval: isNumber,
    input_n: isCount,
    ended: orNone(isTruth),
    lost_bytes: orNone(isCount),
    preamble: orNone(isBytes),
  },
  output: { data: isBytes, seq: isCount, replay: isTruth },
  replay_end: { seq: isCount },
  gap: {
    first: isCount,
    last: isCount,
    lost_bytes: isCount,
    reason: isOneOf("trimmed", "skipped", "epoch", "torn"),
    preamble: orNone(isBytes),
  },
  resize: { rows: isCount, cols: isCount, seq: isCount, client_id: isText },
  heartbeat: { seq: isCount, expires_at: orNull(isNumber), viewers: isCount },
  ping: { timestamp: isNumber },
  pong: { timestamp: isNumber },
  input_ack: { n: isCount },
  viewers: { viewers: (value) => Array.isArray(value) && value.every(isViewer), responder: orNull(isText) },
  flow_pause: { bytes: isCount },
  flow_resume: { bytes: isCount },
  storage: { durable: isTruth, reason: isText },
  draining: { deadline: orNull(isNumber) },
  notice: { kind: isText, message: isText, seq: isCount, timestamp: isNumber, fields: orNone(isFields) },
  session_ended: { reason: isText, exit_code: orNull(isNumber), signal: orNull(isText), message: orNone(isText) },
  error: { code: isText, error: isText, expected: orNone(isCount) },
};

const SHAPES = new Map<string, [string, Check][]>(
  Object.entries(FIELDS).map(([type, fields]) => [type, Object.entries(fields)]),
);
