// What the browser remembers of how somebody likes the console. Only here is localStorage used.

export const CHOICES = ["auto", "light", "dark"] as const;
export type Choice = (typeof CHOICES)[number];

const KEY = "terminal-service.console";
export const FONT_SIZES = { smallest: 8, usual: 14, largest: 32 } as const;

interface Kept {
  theme: Choice;
  fontSize: number;
  sidebar: boolean;
}

const DEFAULTS: Kept = { theme: "auto", fontSize: FONT_SIZES.usual, sidebar: true };

/** Each value holds for this page at once, and for later pages where the browser lets us keep it. */
export class Preferences {
  readonly #storage: Pick<Storage, "getItem" | "setItem"> | null;
  #kept: Kept;

  /** `storage` is null where the browser keeps nothing for us. */
  constructor(storage: Pick<Storage, "getItem" | "setItem"> | null) {
    this.#storage = storage;
    this.#kept = read(storage);
  }

  get theme(): Choice {
    return this.#kept.theme;
  }

  set theme(theme: Choice) {
    this.#keep({ theme });
  }

  /** Of terminals, in CSS pixels. */
  get fontSize(): number {
    return this.#kept.fontSize;
  }

  set fontSize(size: number) {
    this.#keep({ fontSize: boundedFontSize(size) });
  }

  /** Whether the list of sessions is beside the terminals. */
  get sidebar(): boolean {
    return this.#kept.sidebar;
  }

  set sidebar(sidebar: boolean) {
    this.#keep({ sidebar });
  }

  #keep(change: Partial<Kept>): void {
    this.#kept = { ...this.#kept, ...change };
    try {
      this.#storage?.setItem(KEY, JSON.stringify(this.#kept));
    } catch {
      // Full, or forbidden meanwhile: then it holds for this page only, which is all that can be done.
    }
  }
}

/** Return the page's storage; null where a policy forbids even to ask. */
export function pageStorage(): Storage | null {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

export function boundedFontSize(size: number): number {
  return Number.isFinite(size)
    ? Math.min(FONT_SIZES.largest, Math.max(FONT_SIZES.smallest, Math.round(size)))
    : FONT_SIZES.usual;
}

function read(storage: Pick<Storage, "getItem"> | null): Kept {
  const found = parsed(storage);
  return {
    theme: isChoice(found["theme"]) ? found["theme"] : DEFAULTS.theme,
    fontSize: typeof found["fontSize"] === "number" ? boundedFontSize(found["fontSize"]) : DEFAULTS.fontSize,
    sidebar: typeof found["sidebar"] === "boolean" ? found["sidebar"] : DEFAULTS.sidebar,
  };
}

function isChoice(value: unknown): value is Choice {
  return CHOICES.some((choice) => choice === value);
}

/** What an older page, or somebody else, left there may be anything. */
function parsed(storage: Pick<Storage, "getItem"> | null): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(storage?.getItem(KEY) ?? "null");
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}
