// Finding text in the terminal, on the screen and above it.
import type { ISearchOptions, SearchAddon } from "@xterm/addon-search";
import type { Terminal } from "@xterm/xterm";

export interface FindOptions {
  backwards?: boolean;
  regex?: boolean;
  caseSensitive?: boolean;
  wholeWord?: boolean;
  /** Keep a match that still fits while the text is being typed. */
  incremental?: boolean;
}

/** What was found: `index` counts from 0; -1 where there are more than can be counted. */
export interface Found {
  index: number;
  count: number;
}

/** Matches that are all highlighted at once; beyond them only the current one is. */
const HIGHLIGHTS = 1000;
const COLOURS = {
  matchBackground: "#8a6a1f",
  matchOverviewRuler: "#c99a2e",
  activeMatchBackground: "#c2410c",
  activeMatchColorOverviewRuler: "#c2410c",
};

/** Finds in one terminal; the addon is fetched when it is first needed. */
export class Finder {
  readonly #terminal: Terminal;
  readonly #changed: (found: Found | null) => void;
  #addon: Promise<SearchAddon> | null = null;

  constructor(terminal: Terminal, changed: (found: Found | null) => void) {
    this.#terminal = terminal;
    this.#changed = changed;
  }

  /** Find the next match, or the one before; false if there is none. Throws SyntaxError for a bad expression. */
  async find(text: string, options: FindOptions = {}): Promise<boolean> {
    if (options.regex) new RegExp(text); // the addon would say nothing
    const addon = await this.#fetch();
    if (text === "") {
      this.#clear(addon);
      return false;
    }
    const { backwards = false, ...rest } = options;
    const wanted: ISearchOptions = { ...rest, decorations: COLOURS };
    const found = backwards ? addon.findPrevious(text, wanted) : addon.findNext(text, wanted);
    if (!found) this.#changed({ index: -1, count: 0 });
    return found;
  }

  /** Highlight nothing any more. */
  async clear(): Promise<void> {
    if (this.#addon) this.#clear(await this.#addon);
  }

  #clear(addon: SearchAddon): void {
    addon.clearDecorations();
    this.#terminal.clearSelection();
    this.#changed(null);
  }

  /** What failed, as while the service is away, is tried again the next time. */
  async #fetch(): Promise<SearchAddon> {
    try {
      this.#addon ??= this.#load();
      return await this.#addon;
    } catch (error) {
      this.#addon = null;
      throw error;
    }
  }

  async #load(): Promise<SearchAddon> {
    const { SearchAddon } = await import("@xterm/addon-search");
    const addon = new SearchAddon({ highlightLimit: HIGHLIGHTS });
    this.#terminal.loadAddon(addon);
    addon.onDidChangeResults(({ resultIndex, resultCount }) =>
      this.#changed({ index: resultIndex, count: resultCount }),
    );
    return addon;
  }
}
