// Light or dark: what the visitor chose, else what the system prefers. Only here is the document's theme set.

import { CHOICES, type Choice, type Preferences } from "./preferences.ts";
import { tokens } from "./tokens.ts";

export type Look = "light" | "dark";

/** The colour of the bars, for what browsers of phones draw around the page. */
const BARS: Record<Look, string> = { light: "#f6f7f9", dark: "#15181e" };

/** Return what the switch turns to next. */
export function choiceAfter(choice: Choice): Choice {
  return CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length] ?? "auto";
}

/** Keeps `data-theme` of the document right, and tells "theme-changed" on the document whenever the look is another. */
export class Theme {
  readonly #preferences: Preferences;
  readonly #prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  #look: Look | null = null;

  constructor(preferences: Preferences) {
    this.#preferences = preferences;
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, tokens.styleSheet].filter((sheet) => sheet != null);
    this.#prefersDark.addEventListener("change", () => this.#apply());
    this.#apply();
  }

  get choice(): Choice {
    return this.#preferences.theme;
  }

  set choice(choice: Choice) {
    this.#preferences.theme = choice;
    this.#apply();
  }

  get look(): Look {
    if (this.choice !== "auto") return this.choice;
    return this.#prefersDark.matches ? "dark" : "light";
  }

  #apply(): void {
    if (this.look === this.#look) return;
    this.#look = this.look;
    document.documentElement.dataset["theme"] = this.#look;
    for (const meta of document.querySelectorAll<HTMLMetaElement>("meta[name=theme-color]"))
      meta.content = BARS[this.#look];
    document.dispatchEvent(new CustomEvent("theme-changed", { detail: { look: this.#look } }));
  }
}
