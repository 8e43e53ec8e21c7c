// How large a terminal will be that is not on the page yet: near enough for a program that ends before it is resized.

/** Parts of the font size, in the fonts that the terminals have. */
const CELL = { width: 0.603, height: 1.17 };
/** What tabs, the bar below, and the scroll bar take, in CSS pixels. */
const AROUND = { width: 22, height: 68 };

/** Return how many characters fit; null where the area is hidden, as behind another view. */
export function guessFit(
  area: { readonly width: number; readonly height: number },
  fontSize: number,
): { rows: number; cols: number } | null {
  if (area.width === 0 || area.height === 0) return null;
  const fitting = (room: number, cell: number) => Math.max(10, Math.min(1000, Math.floor(room / (cell * fontSize))));
  return {
    rows: fitting(area.height - AROUND.height, CELL.height),
    cols: fitting(area.width - AROUND.width, CELL.width),
  };
}
