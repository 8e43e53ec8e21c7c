// Who holds the workspace, and keeps the address of the page the same as it: what is shown survives reload, back and forward.
import type { Pane } from "./layout.ts";
import { decode, encode } from "./route.ts";
import { activeTab, adoptKeys, allPanes, EMPTY, type Workspace } from "./workspace.ts";

/** The part of the browser that keeps addresses. */
export interface Place {
  hash(): string;
  push(hash: string): void;
  replace(hash: string): void;
  /** Calls back when somebody went back or forward, or typed another address. */
  onMove(callback: () => void): void;
}

/** Browsers refuse to change the address more often than some 100 times in 30 s. */
const SETTLE_MS = 300;

/**
 * Holds the workspace. A change that somebody would want to go back from (another view, tab or pane) is a step in the
 * history; sizes and focus amend the step they belong to, once they have settled.
 * Tells "change", and after it "move" where that came from the address.
 */
export class Desk extends EventTarget {
  readonly #place: Place;
  #space: Workspace = EMPTY;
  #count = 0;
  #settling: ReturnType<typeof setTimeout> | null = null;

  constructor(place: Place) {
    super();
    this.#place = place;
    place.onMove(() => this.#read());
    this.#read();
  }

  get space(): Workspace {
    return this.#space;
  }

  pane(key: string): Pane | undefined {
    return allPanes(this.#space).find((pane) => pane.key === key);
  }

  newPane(session: string, flags: Partial<Pick<Pane, "readOnly" | "live">> = {}): Pane {
    return { kind: "pane", key: this.#newKey(), session, readOnly: false, live: false, ...flags };
  }

  /** Show something else; tells "change" on the desk. */
  change(next: Workspace): void {
    if (next === this.#space) return;
    const isStep = stepOf(next) !== stepOf(this.#space);
    if (isStep) this.settle();
    this.#space = next;
    if (isStep) this.#place.push(encode(next));
    else this.#settleLater();
    this.dispatchEvent(new Event("change"));
  }

  /** Write the address now, as when the page may go. */
  settle(): void {
    if (this.#settling === null) return;
    clearTimeout(this.#settling);
    this.#settling = null;
    this.#place.replace(encode(this.#space));
  }

  #settleLater(): void {
    if (this.#settling !== null) clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.settle(), SETTLE_MS);
  }

  #read(): void {
    if (this.#settling !== null) clearTimeout(this.#settling);
    this.#settling = null;
    this.#space = adoptKeys(this.#space, decode(this.#place.hash()), () => this.#newKey());
    this.dispatchEvent(new Event("change"));
    this.dispatchEvent(new Event("move"));
  }

  #newKey(): string {
    this.#count += 1;
    return `pane-${this.#count}`;
  }
}

/** What two workspaces have in common if going from one to the other is no step. */
function stepOf(space: Workspace): string {
  const tab = activeTab(space);
  const panes = allPanes(space).map(({ key, session }) => `${key}=${session}`);
  return [space.view, space.tabs.length, space.active, tab ? "" : "none", ...panes].join(" ");
}

/** The address bar and history of this page. */
export function pagePlace(): Place {
  return {
    hash: () => location.hash,
    push: (hash) => history.pushState(null, "", hash),
    replace: (hash) => history.replaceState(null, "", hash),
    onMove: (callback) => {
      window.addEventListener("popstate", callback); // hashchange comes with it
    },
  };
}
