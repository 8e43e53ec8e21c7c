// The colours of the terminal. Only here are colours of programs named; the element's own parts derive theirs from them.
import type { ITheme } from "@xterm/xterm";

/** Colours in the order of their ANSI numbers 0..15. */
type Sixteen = readonly string[];

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"] as const;

function theme(sixteen: Sixteen, own: ITheme): ITheme {
  const colours: Record<string, string> = {};
  NAMES.forEach((name, index) => {
    colours[name] = sixteen[index] ?? "";
    colours[`bright${name[0]?.toUpperCase()}${name.slice(1)}`] = sixteen[index + 8] ?? "";
  });
  return { ...colours, ...own };
}

const SOLARIZED: Sixteen = [
  ...["#073642", "#dc322f", "#859900", "#b58900", "#268bd2", "#d33682", "#2aa198", "#eee8d5"],
  ...["#586e75", "#cb4b16", "#859900", "#b58900", "#268bd2", "#6c71c4", "#2aa198", "#fdf6e3"],
];

/** The themes by name; `auto` is one of the first two, as the visitor's system prefers. */
export const THEMES: Readonly<Record<string, ITheme>> = {
  dark: theme(
    [
      ...["#20242c", "#f0716b", "#8bc77b", "#e0b860", "#6ea8f5", "#c792ea", "#5cc5c9", "#c9d1d9"],
      ...["#6b7585", "#ff938c", "#a9e09a", "#f5d488", "#94c2ff", "#ddb3f8", "#86e0e3", "#f2f5f8"],
    ],
    {
      background: "#14171c",
      foreground: "#d5dae1",
      cursor: "#e6eaf0",
      cursorAccent: "#14171c",
      selectionBackground: "#34527a",
    },
  ),
  light: theme(
    [
      ...["#24292f", "#b3261e", "#1b6e2f", "#7d5300", "#0a56b8", "#8127a8", "#0b6a76", "#63686e"],
      ...["#4b535c", "#c5352c", "#22803a", "#8f6100", "#1a66cc", "#9338ba", "#127784", "#24292f"],
    ],
    {
      background: "#fbfbfa",
      foreground: "#24292f",
      cursor: "#24292f",
      cursorAccent: "#fbfbfa",
      selectionBackground: "#b6d2f7",
    },
  ),
  "solarized-dark": theme(SOLARIZED, {
    ...{ background: "#002b36", foreground: "#93a1a1", cursor: "#93a1a1", cursorAccent: "#002b36" },
    selectionBackground: "#0f4b59",
  }),
  "solarized-light": theme(SOLARIZED, {
    ...{ background: "#fdf6e3", foreground: "#586e75", cursor: "#586e75", cursorAccent: "#fdf6e3" },
    selectionBackground: "#d9d2bd",
  }),
  "high-contrast": theme(
    [
      ...["#000000", "#ff6b6b", "#4df24d", "#ffff4d", "#7ab8ff", "#ff85ff", "#4dffff", "#ffffff"],
      ...["#a6a6a6", "#ff9e9e", "#8cff8c", "#ffff99", "#b3d7ff", "#ffb8ff", "#99ffff", "#ffffff"],
    ],
    {
      background: "#000000",
      foreground: "#ffffff",
      cursor: "#ffff00",
      cursorAccent: "#000000",
      selectionBackground: "#0050c8",
    },
  ),
};

/** Return the colours of a theme by name; `auto`, and names that are not known, follow the system. */
export function themeNamed(name: string, prefersLight: boolean): ITheme {
  const chosen = Object.hasOwn(THEMES, name) ? THEMES[name] : THEMES[prefersLight ? "light" : "dark"];
  return { ...chosen };
}

/** The contrast that text has at least: WCAG's AA, and its AAA where contrast is what is wanted. */
export function leastContrast(name: string): number {
  return name === "high-contrast" ? 7 : 4.5;
}

/** Whether a background is a light one: what lies upon it must be dark. `colour` is #rgb or #rrggbb; others count as dark. */
export function isLight(colour: string): boolean {
  const digits = /^#(?:([0-9a-f]{3})|([0-9a-f]{6}))$/i.exec(colour);
  if (!digits) return false;
  const hex = digits[2] ?? [...(digits[1] ?? "")].map((digit) => digit + digit).join("");
  const [red = 0, green = 0, blue = 0] = [0, 2, 4].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
  return red * 0.299 + green * 0.587 + blue * 0.114 > 140;
}
