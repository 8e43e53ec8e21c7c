// The workspace as an address, and back. The address is the only place where tabs and splits are kept.
//
//   #/terminals/2/<tab>,<tab>     the view, the active tab counted from 1 (left out: the first), the tabs
//   <tab>   = <session> | (<tab>+<tab>) beside each other | (<tab>:<tab>) one above the other
//   (a+b)30                        the first has 30 percent (left out: 50)
//   <session>!view!live*           looks only; skips ahead when far behind; has the keyboard in its tab
//
// What cannot be understood is left out and the rest is shown: addresses are mailed, cut and mistyped.
import { boundedShare, type Layout, PANES_LIMIT, type Pane, panesOf } from "./layout.ts";
import { EMPTY, TABS_LIMIT, type Tab, VIEWS, type View, type Workspace } from "./workspace.ts";

/** "." and ".." are steps in a path, not names: an address that somebody else made must not lead a request elsewhere. */
const SESSION = /^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}$/;
/** A longer address was not made by this page. */
const LENGTH_LIMIT = 64 * 1024;
/** Deeper trees than this cannot hold panes within the limit. */
const DEPTH_LIMIT = PANES_LIMIT + 1;

/** Return the address, with `#`. */
export function encode(space: Workspace): string {
  const parts: string[] = [space.view];
  if (space.active > 0 && space.active < space.tabs.length) parts.push(String(space.active + 1));
  if (space.tabs.length > 0) parts.push(space.tabs.map(encodeTab).join(","));
  return `#/${parts.join("/")}`;
}

function encodeTab(tab: Tab): string {
  const marked = panesOf(tab.root)[0]?.key === tab.focus ? null : tab.focus;
  return encodeLayout(tab.root, marked);
}

function encodeLayout(layout: Layout, marked: string | null): string {
  if (layout.kind === "pane") {
    return `${layout.session}${layout.readOnly ? "!view" : ""}${layout.live ? "!live" : ""}${layout.key === marked ? "*" : ""}`;
  }
  const sign = layout.direction === "right" ? "+" : ":";
  const share = layout.share === 50 ? "" : String(layout.share);
  return `(${encodeLayout(layout.first, marked)}${sign}${encodeLayout(layout.second, marked)})${share}`;
}

/** Read an address; keys of panes are "0", "1", … in order. Never throws. */
export function decode(hash: string): Workspace {
  const [, view = "", ...rest] = unescaped(hash).split("/");
  const named = rest.length > 1 ? Number(rest[0]) : 1;
  const tabs = new Reader(rest.at(rest.length > 1 ? 1 : 0) ?? "").tabs();
  const active = Number.isInteger(named) ? Math.max(0, Math.min(named - 1, tabs.length - 1)) : 0;
  return { view: isView(view) ? view : EMPTY.view, tabs, active: Math.max(0, active) };
}

function isView(text: string): text is View {
  return VIEWS.some((view) => view === text);
}

/** Programs that pass addresses on escape what needs no escape; no session id has a percent sign. */
function unescaped(hash: string): string {
  const text = hash.slice(0, LENGTH_LIMIT).replace(/^#/, "");
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Reads what `encodeTab` wrote, by descent; what is missing or wrong yields null, and the reader goes on behind it. */
class Reader {
  readonly #text: string;
  #at = 0;
  #panes = 0;
  #key = 0;
  #marked: string | null = null;

  constructor(text: string) {
    this.#text = text;
  }

  tabs(): Tab[] {
    const tabs: Tab[] = [];
    while (this.#at < this.#text.length && tabs.length < TABS_LIMIT) {
      this.#panes = 0;
      this.#marked = null;
      const root = this.#layout(0);
      this.#skipPast(",");
      const first = root && panesOf(root)[0];
      if (root && first) tabs.push({ root, focus: this.#marked ?? first.key });
    }
    return tabs;
  }

  #layout(depth: number): Layout | null {
    if (depth > DEPTH_LIMIT) return null;
    return this.#text[this.#at] === "(" ? this.#split(depth) : this.#pane();
  }

  #split(depth: number): Layout | null {
    this.#at += 1;
    const first = this.#layout(depth + 1);
    const sign = this.#text[this.#at];
    const direction = sign === "+" ? "right" : sign === ":" ? "down" : null;
    if (direction !== null || sign === ")") this.#at += 1;
    if (direction === null) return first;
    const second = this.#layout(depth + 1);
    let share = 50;
    if (this.#text[this.#at] === ")") {
      this.#at += 1;
      const digits = this.#match(/[0-9.]*/y);
      if (digits) share = boundedShare(Number(digits));
    }
    return first && second ? { kind: "split", direction, share, first, second } : (first ?? second);
  }

  #pane(): Pane | null {
    const session = this.#match(/[^!*+:,()]*/y);
    const flags = this.#match(/(?:![a-z]*)*/y).split("!");
    const marked = this.#text[this.#at] === "*";
    if (marked) this.#at += 1;
    if (!SESSION.test(session) || this.#panes >= PANES_LIMIT) return null;
    this.#panes += 1;
    const key = String(this.#key++);
    if (marked) this.#marked ??= key;
    return { kind: "pane", key, session, readOnly: flags.includes("view"), live: flags.includes("live") };
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? "";
    this.#at += found.length;
    return found;
  }

  #skipPast(sign: string): void {
    const next = this.#text.indexOf(sign, this.#at);
    this.#at = next < 0 ? this.#text.length : next + 1;
  }
}
