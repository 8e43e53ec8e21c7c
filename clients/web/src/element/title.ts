// Titles that programs give: they end in tabs and lists, so nothing in them may hide, reorder or overflow.

const LONGEST = 256;

/** Control characters, format characters (bidi marks, joiners, tags: they reorder text or have no width), line separators. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Return a title that shows as what it is: one line, nothing invisible, at most 256 characters. */
export function cleanTitle(title: string): string {
  const clean = title.replace(UNSEEN, " ").replace(/\s+/gu, " ").trim();
  const characters = [...clean];
  return characters.length <= LONGEST ? clean : `${characters.slice(0, LONGEST - 1).join("")}…`;
}
