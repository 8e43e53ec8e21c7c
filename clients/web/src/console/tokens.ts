// The looks of the console in one place: colours in both themes, type, space. All styles use these names only.
import { css, unsafeCSS } from "lit";

/** Name, light, dark. Text on its background has a contrast of at least 4.5, lines and marks that matter 3. */
const COLOURS: readonly (readonly [string, string, string])[] = [
  ["ground", "#e9ecf0", "#0c0e12"], // behind everything
  ["surface", "#f6f7f9", "#15181e"], // bars, lists
  ["raised", "#ffffff", "#1d2129"], // cards, menus, dialogs
  ["hover", "#e3e7ed", "#272d37"],
  ["pressed", "#d5dbe4", "#313845"],
  ["terminal", "#fbfbfa", "#14171c"],
  ["line", "#d7dce3", "#2a303a"],
  ["line-strong", "#7b8593", "#667180"], // edges of controls
  ["text", "#1a1f27", "#e3e7ed"],
  ["muted", "#545d6a", "#a2abb8"],
  ["accent", "#1c5fd0", "#82b1ff"], // links, marks, what is chosen
  ["accent-fill", "#1c5fd0", "#2f6bd6"],
  ["accent-fill-hover", "#174fae", "#2860c4"],
  ["on-accent", "#ffffff", "#ffffff"],
  ["accent-soft", "#dce8fc", "#1d2f4d"],
  ["good", "#1a7036", "#5ecb82"],
  ["warn", "#855300", "#e6b450"],
  ["bad", "#b3271e", "#ff8a80"],
  ["good-soft", "#dcf1e2", "#16301f"],
  ["warn-soft", "#faecd0", "#352a12"],
  ["bad-soft", "#fbe3e1", "#3d1d1b"],
  ["bad-fill", "#b3271e", "#c5352c"],
  ["on-bad", "#ffffff", "#ffffff"],
  ["focus", "#1c5fd0", "#9cc2ff"],
  ["shade", "rgb(20 26 36 / 38%)", "rgb(0 0 0 / 60%)"],
  ["shadow", "rgb(20 30 50 / 18%)", "rgb(0 0 0 / 55%)"],
];

function colours(column: 1 | 2): string {
  return COLOURS.map((row) => `--${row[0]}: ${row[column]};`).join(" ");
}

/** For the document: custom properties reach every shadow root. `data-theme` overrules what the system prefers. */
export const tokens = css`
  :root {
    color-scheme: light;
    ${unsafeCSS(colours(1))}
    --font: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
    --mono: ui-monospace, "SF Mono", SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
    --radius: 8px;
    --radius-small: 5px;
    --control: 32px; /* the height of buttons and fields */
    --bar: 46px;
    --tabs: 36px;
    --quick: 120ms;
  }
  @media (prefers-color-scheme: dark) {
    :root:not([data-theme="light"]) {
      color-scheme: dark;
      ${unsafeCSS(colours(2))}
    }
  }
  :root[data-theme="dark"] {
    color-scheme: dark;
    ${unsafeCSS(colours(2))}
  }
  @media (max-width: 640px), (pointer: coarse) {
    :root {
      --control: 44px;
      --bar: 52px;
      --tabs: 48px;
    }
  }
  @media (prefers-reduced-motion: reduce) {
    :root {
      --quick: 0ms;
    }
  }
  html,
  body {
    height: 100%;
    margin: 0;
    overflow: hidden;
    background: var(--ground);
    color: var(--text);
    font: 14px / 1.45 var(--font);
    overscroll-behavior: none;
    -webkit-text-size-adjust: 100%;
  }
`;
