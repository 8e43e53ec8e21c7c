// What the element shows around the terminal: facts from the service, one place each, drawn by the templates.
import type { Events, Link, State, Viewer } from "../client/types.ts";
import type { Size } from "./fit.ts";
import type { Progress } from "./paster.ts";

export interface View {
  state: State;
  attempt: number;
  /** When the next attempt comes, in milliseconds of `Date.now()`. */
  retryAt: number | null;
  code: number | null;
  reason: string;
  /** Attached once at least: what is shown is the session, not an empty screen. */
  wasOpen: boolean;
  replaying: boolean;
  viewers: Viewer[];
  responder: string | null;
  link: Link;
  size: Size;
  fits: Size | null;
  sizeBy: string | null;
  pendingBytes: number;
  droppedBytes: number;
  skippedBytes: number;
  ended: Events["ended"] | null;
  storage: Events["storage"] | null;
  /** When the node that has the session ends, in milliseconds since 1970. */
  draining: number | null;
  /** What the place where it runs has said, as long as that holds. */
  notice: Events["notice"] | null;
  title: string;
  letterboxed: boolean;
  /** The last gap, told for a while. */
  passing: { lostBytes: number; reason: Events["gap"]["reason"] } | null;
  /** A large paste on its way. */
  progress: Progress | null;
  /** What a program wants to put into the clipboard. */
  copying: string | null;
}

export function newView(): View {
  return {
    state: "idle",
    attempt: 0,
    retryAt: null,
    code: null,
    reason: "",
    wasOpen: false,
    replaying: false,
    viewers: [],
    responder: null,
    link: { rttMs: null, lagBytes: 0, mode: "exact" },
    size: { rows: 24, cols: 80 },
    fits: null,
    sizeBy: null,
    pendingBytes: 0,
    droppedBytes: 0,
    skippedBytes: 0,
    ended: null,
    storage: null,
    draining: null,
    notice: null,
    title: "",
    letterboxed: false,
    passing: null,
    progress: null,
    copying: null,
  };
}
