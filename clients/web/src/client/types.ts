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
  /** First of each connection. With `recover` "tail" or "gap" write `preamble` before anything else. */
  attached: Attached;
  output: { data: Uint8Array; seq: number; replay: boolean };
  replayEnd: { seq: number };
  /** Output that will never come; `first` === `last` and 0 bytes where a crash may have lost some ("torn"). */
  gap: {
    first: number;
    last: number;
    lostBytes: number;
    reason: "trimmed" | "skipped" | "torn";
    preamble?: Uint8Array;
  };
  resize: { rows: number; cols: number; seq: number; clientId: string | null };
  viewers: { viewers: Viewer[]; responder: string | null };
  heartbeat: { expiresAt: number | null; viewers: number };
  storage: { durable: boolean; reason: string };
  flow: { paused: boolean; bytes: number };
  /** `pendingBytes` typed and not yet acknowledged; `droppedBytes` refused because too much was waiting. */
  input: { pendingBytes: number; droppedBytes: number };
  link: Link;
  ended: { reason: string; exitCode: number | null; signal: string | null; message: string };
  /** What the service says is wrong with what was sent, or with this client (`code` is stable). */
  error: { code: string; message: string };
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
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string; wasClean: boolean }) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: Uint8Array): void;
  close(code?: number, reason?: string): void;
}

/** Calls back when trying again at once is worth it; returns how to stop that. */
export type WakeUps = (callback: () => void) => () => void;

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
  readonly attached: Attached | null;
  readonly pendingInputBytes: number;
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void;
  start(): void;
  /** Try again now, whatever the back-off says; also leaves `refused`. */
  reconnect(): void;
  /** Leave; the session goes on. */
  stop(): void;
  /** Queue input; kept over reconnects until acknowledged. False: too much is waiting, nothing of it was taken. */
  send(data: Uint8Array | string): boolean;
  /** Resolves when less than `bytes` of input wait: the backpressure of a long paste. Rejects when the session ends. */
  drained(bytes: number): Promise<void>;
  rendered(seq: number): void;
  resize(rows: number, cols: number): void;
  signal(name: SignalName): void;
  setMode(mode: Mode): void;
}
