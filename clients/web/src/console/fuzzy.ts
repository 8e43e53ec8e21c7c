// How well what somebody types fits a text: all letters in order, better at beginnings of words and in a row.

export interface Match {
  readonly score: number;
  /** Which characters of the text were meant, ascending. */
  readonly at: readonly number[];
}

const IN_A_ROW = 4;
const WORD_START = 6;
const TEXT_START = 3;
/** For each letter of a word that is there as it was typed: what was typed is better than what could be meant. */
const WHOLE = 3;
/** What a text loses for each character passed over between two that fit. */
const SKIPPED = 0.2;
/** Longer queries are not typed by people. */
const QUERY_LIMIT = 100;

/** Return how well each word of `query` fits `text`; null if one does not. An empty query fits everything equally. */
export function match(query: string, text: string): Match | null {
  const words = query.slice(0, QUERY_LIMIT).toLowerCase().split(/\s+/).filter(Boolean);
  const at = new Set<number>();
  let score = 0;
  for (const word of words) {
    const found = matchWord(word, text);
    if (!found) return null;
    score += found.score;
    for (const index of found.at) at.add(index);
  }
  return { score, at: [...at].sort((a, b) => a - b) };
}

/** Return the items that fit, best first; those that fit equally well stay in their order. */
export function search<Item>(query: string, items: readonly Item[], textOf: (item: Item) => string) {
  const found: { item: Item; match: Match }[] = [];
  for (const item of items) {
    const fits = match(query, textOf(item));
    if (fits) found.push({ item, match: fits });
  }
  return query.trim() === "" ? found : found.sort((a, b) => b.match.score - a.match.score);
}

/** Try every place where the word could begin, and keep the best. */
function matchWord(word: string, text: string): Match | null {
  const lower = text.toLowerCase();
  let best: Match | null = null;
  for (let start = lower.indexOf(word.charAt(0)); start >= 0; start = lower.indexOf(word.charAt(0), start + 1)) {
    const found = matchFrom(word, text, lower, start);
    if (!found) break;
    if (!best || found.score > best.score) best = found;
  }
  return best;
}

function matchFrom(word: string, text: string, lower: string, start: number): Match | null {
  const at: number[] = [];
  let score = 0;
  let next = start;
  for (const letter of word) {
    const index = lower.indexOf(letter, next);
    if (index < 0) return null;
    if (at.length > 0) score += index === next ? IN_A_ROW : (next - index) * SKIPPED;
    if (startsWord(text, index)) score += WORD_START;
    if (index === 0) score += TEXT_START;
    score += 1;
    at.push(index);
    next = index + letter.length;
  }
  const [first = 0] = at;
  if (lower.startsWith(word, first)) score += WHOLE * (word.length - 1);
  return { score, at };
}

function startsWord(text: string, index: number): boolean {
  if (index === 0) return true;
  const before = text.charAt(index - 1);
  return /[^\p{L}\p{N}]/u.test(before) || (/\p{Ll}/u.test(before) && /\p{Lu}/u.test(text.charAt(index)));
}
