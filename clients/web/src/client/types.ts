/** What a client of a terminal is given and what it tells. Positions and sizes are bytes, times milliseconds. */

export type Role = "writer" | "viewer" | "owner";
export type Mode = "exact" | "live" | "frozen";
export type SignalName = "INT" | "TERM" | "HUP" | "QUIT" | "KILL" | "TSTP" | "CONT" | "WINCH" | "USR1" | "USR2";

/**
 * `idle` not started or detached · `connecting` · `open` attached · `waiting` for the next attempt ·
 * `ended` the session is over · `refused` the service will not have us; trying again would change nothing.
 */
export type State = "idle" | "connecting" | "open" | "waiting" | "ended" | "refused";

export interface Viewer {
  client_id: string;
  user: string;
  role: Role;
  rows: number | null;
  cols: number | null;
  position: number;
}

export interface Attached {
  session_id: string;
  terminal_id: string;
  client_id: string;
  role: Role;
  mode: Mode;
  recover: "exact" | "gap" | "tail";
  seq: number;
  head: number;
  first: number;
  epoch: string;
  rows: number;
  cols: number;
  window: number;
  heartbeat_interval: number;
  input_n: number;
  ended?: boolean;
  lost_bytes?: number;
  preamble?: Uint8Array;
}

/** Things to render, strictly in the order given: call `rendered(seq)` once everything up to there is on the screen. */
export interface Events {
  state: { state: State; attempt: number; retryInMs: number | null; code: number | null; reason: string };
  /**
   * First of each connection. With `recover` "tail" write `preamble` before anything else; "gap" is followed by a
   * `gap` event, which carries it. Fields as on the wire: `heartbeat_interval` in seconds.
   */
  attached: Attached;
  output: { data: Uint8Array; seq: number; replay: boolean };
  replayEnd: { seq: number };
  /**
   * Output that will never come: from position `first` to `last`. "torn": a crash may have lost some here, nobody knows
   * how much, and `first` is `last`. "epoch": the output was begun anew, earlier positions mean nothing any more.
   */
  gap: {
    first: number;
    last: number;
    lostBytes: number;
    reason: "trimmed" | "skipped" | "torn" | "epoch";
    preamble?: Uint8Array;
  };
  resize: { rows: number; cols: number; seq: number; clientId: string | null };
  viewers: { viewers: Viewer[]; responder: string | null };
  heartbeat: { expiresAt: number | null; viewers: number };
  storage: { durable: boolean; reason: string };
  /** The node that has the session ends at this time at the latest (milliseconds since 1970); null: not any more. */
  draining: { deadline: number | null };
  notice: Notice;
  flow: { paused: boolean; bytes: number };
  /** `pendingBytes` typed and not yet acknowledged; `droppedBytes` given up or refused just now: they are lost. */
  input: { pendingBytes: number; droppedBytes: number };
  link: Link;
  ended: { reason: string; exitCode: number | null; signal: string | null; message: string };
  /**
   * What the service says is wrong with what was sent, or with this client (`code` is stable). Codes of the client's
   * own: `malformed` `protocol` (what arrived makes no sense), `ticket` (none was given), `not_connected` (a signal is
   * not kept), `input_uncertain` (the service no longer knows whether what was in flight was typed; not sent again).
   */
  error: { code: string; message: string };
}

/** What the place where the session runs says of itself, where it stands in the output. */
export interface Notice {
  /** `progress` `ready` (while it is prepared) · `link_lost` `link_back` `link_given_up` · `ending_soon` · `warning` · others may come. */
  kind: string;
  /** For people. */
  message: string;
  seq: number;
  /** Milliseconds since 1970. */
  at: number;
  fields: Record<string, unknown>;
}

/** The quality of the link: last and smoothed round trip, how far the screen is behind the log. */
export interface Link {
  rttMs: number | null;
  lagBytes: number;
  mode: Mode;
}

export interface Options {
  /** ws: or wss: address of the terminal without query: `wss://host/ws/terminal/<session id>`; http(s) works too. */
  url: string;
  role?: Role;
  mode?: Mode;
  /** Where to begin: "tail" (default, `tailBytes` of recent output), 0 for everything kept, or a position. */
  from?: number | "tail";
  tailBytes?: number;
  epoch?: string;
  /** Default: a new random one. Two living clients with the same id replace each other. */
  clientId?: string;
  /** Asked before every connection where the service wants to know who we are: a single-use ticket. */
  ticket?: () => Promise<string | null>;
  /** How much typed input may wait for its acknowledgement, in bytes (default 1 MiB). */
  maxPendingInputBytes?: number;
  /** For Node before 22, and tests. Default: `globalThis.WebSocket`. */
  WebSocket?: new (
    url: string,
    protocols: string[],
  ) => WebSocketLike;
  /** What tells of a network that is back or a page that wakes; default: `window` and `document` where they are. */
  wakeUps?: WakeUps;
  /** Times and chance, for tests. */
  clock?: Clock;
}

export interface WebSocketLike {
  binaryType: string;
  readonly readyState: number;
  readonly bufferedAmount: number;
  readonly protocol: string;
  // `never`: these are only assigned, and what is assigned takes less than any WebSocket gives.
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}

/**
 * Calls `wake` when trying again at once is worth it, and `sleep` when the page is left: then the connection is closed
 * until `wake`. Returns how to stop that.
 */
export type WakeUps = (wake: () => void, sleep: () => void) => () => void;

export interface Clock {
  now(): number;
  random(): number;
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** The protocol client. Never touches the DOM. */
export interface TerminalClient {
  readonly state: State;
  readonly clientId: string;
  readonly link: Link;
  /** The greeting of the latest connection. */
  readonly attached: Attached | null;
  readonly pendingInputBytes: number;
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void;
  start(): void;
  /** Try again now, whatever the back-off says; also leaves `refused`. */
  reconnect(): void;
  /** Leave; the session goes on. */
  stop(): void;
  /**
   * Queue input; kept over reconnects until acknowledged. False: nothing of it was taken, because too much is waiting,
   * the session has ended, the service refuses us, or we only look.
   */
  send(data: Uint8Array | string): boolean;
  /**
   * Resolves when less than `bytes` of input wait: the backpressure of a long paste. Rejects when nothing will be sent
   * any more: the session has ended, the service refuses us, or `stop` was called.
   */
  drained(bytes: number): Promise<void>;
  /** Everything up to position `seq` is on the screen. Without this the service stops to send after a window. */
  rendered(seq: number): void;
  /** What this viewer can show, 1 to 1000 each; said again on every connection. */
  resize(rows: number, cols: number): void;
  /** To the foreground process group, at once; when not connected an `error` tells that it was not sent. */
  signal(name: SignalName): void;
  /** How output is delivered; kept over reconnects. */
  setMode(mode: Mode): void;
}
