// What each pane's terminal says of itself, by key: kept from its events for headers, tabs and titles.
import type { State } from "../client/types.ts";
import type { Tone } from "./tabs.ts";

export interface PaneState {
  readonly state: State;
  /** What the program calls its window; "" if nothing. */
  readonly title: string;
  /** It rang while nobody looked. */
  readonly rang: boolean;
  /** Attached once at least. */
  readonly wasOpen: boolean;
  /** Nothing is shown until it goes on: this page's choice, not for the next one. */
  readonly frozen: boolean;
}

const NEW: PaneState = { state: "connecting", title: "", rang: false, wasOpen: false, frozen: false };
const TITLE_LIMIT = 120;

export class PaneStates {
  readonly #states = new Map<string, PaneState>();

  of(key: string): PaneState {
    return this.#states.get(key) ?? NEW;
  }

  change(key: string, change: Partial<PaneState>): void {
    this.#states.set(key, { ...this.of(key), ...change });
  }

  /** Take in an event of a terminal. Returns what to tell who does not see it, "" if nothing. */
  hear(key: string, name: string, detail: unknown): string {
    const fields: Record<string, unknown> = typeof detail === "object" && detail !== null ? { ...detail } : {};
    if (name === "terminal-title" && typeof fields["title"] === "string") {
      this.change(key, { title: fields["title"].slice(0, TITLE_LIMIT) });
    }
    if (name === "terminal-bell") this.change(key, { rang: true });
    if (name === "terminal-state" && isState(fields["state"])) return this.#turn(key, fields["state"]);
    return "";
  }

  /** Forget the panes that are no more. */
  keep(keys: ReadonlySet<string>): void {
    for (const key of this.#states.keys()) if (!keys.has(key)) this.#states.delete(key);
  }

  #turn(key: string, state: State): string {
    const before = this.of(key);
    this.change(key, { state, wasOpen: before.wasOpen || state === "open" });
    if (state === before.state) return "";
    return state === "open" ? (before.wasOpen ? "connected again" : "connected") : "";
  }
}

const TONES: Record<State, Tone> = {
  ...{ idle: "off", connecting: "warn", open: "good", waiting: "warn", ended: "off", refused: "bad" },
};
const WORDS: Record<State, string> = {
  idle: "not connected",
  connecting: "connecting",
  open: "connected",
  waiting: "no connection, trying again",
  ended: "ended",
  refused: "cannot be opened",
};

export function toneOf(state: State): Tone {
  return TONES[state];
}

export function wordsFor(state: State): string {
  return WORDS[state];
}

function isState(value: unknown): value is State {
  return typeof value === "string" && Object.hasOwn(TONES, value);
}
