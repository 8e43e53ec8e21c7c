// How many characters fit an area, and where a terminal of another size is put in it. Pure; all in CSS pixels.

export interface Size {
  rows: number;
  cols: number;
}

export interface Box {
  width: number;
  height: number;
}

/** The service takes no more. */
const LIMIT = 1000;
/** xterm.js goes no lower. */
const LEAST_COLS = 2;

/** Return how many rows and columns fit, at least the smallest terminal there is; null while nothing can be measured. */
export function fitting(area: Box, cell: Box, scrollbar: number): Size | null {
  if (!(cell.width > 0 && cell.height > 0 && area.width > 0 && area.height > 0)) return null;
  return {
    rows: clamp(Math.floor(area.height / cell.height), 1),
    cols: clamp(Math.floor((area.width - scrollbar) / cell.width), LEAST_COLS),
  };
}

/** Return the font size at which a terminal larger than what fits is shown whole, but none below `least`. */
export function scaledFontSize(fontSize: number, fits: Size, wanted: Size, least: number): number {
  const ratio = Math.min(fits.cols / wanted.cols, fits.rows / wanted.rows, 1);
  return ratio === 1 ? fontSize : Math.max(halves(fontSize * ratio), halves(Math.min(least, fontSize)));
}

/** "80×24, decided by ada"; who may be empty. */
export function sizeNote(size: Size, who: string): string {
  return `${size.cols}×${size.rows}${who ? `, decided by ${who}` : ""}`;
}

// Each size of a font has glyphs of its own to draw: not too many sizes.
function halves(size: number): number {
  return Math.floor(size * 2) / 2;
}

function clamp(value: number, least: number): number {
  return Math.min(Math.max(value, least), LIMIT);
}
