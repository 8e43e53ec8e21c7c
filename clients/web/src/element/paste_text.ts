// What may be pasted: pure rules for text on its way from a clipboard to a shell.

/** Larger ones, and those of several lines, ask first. */
export const ASK_BYTES = 4096;

// ESC would let the pasted text end a bracketed paste itself; C1 does the same in one character.
const FORBIDDEN = /(?![\t\n\r])\p{Cc}/gu;
/** Halves of characters: UTF-8 has none. */
const LONE = /\p{Cs}/gu;

export interface Paste {
  /** What is sent: without control characters, each line end one carriage return, as Enter sends. */
  text: string;
  /** Bytes of it in UTF-8. */
  bytes: number;
  /** Lines, a last one that is empty not counted. */
  lines: number;
  /** Control characters that were taken out. */
  removed: number;
}

/** Make text from a clipboard safe to send. */
export function cleanPaste(raw: string): Paste {
  const wellFormed = raw.replace(LONE, "\ufffd");
  const text = wellFormed.replace(FORBIDDEN, "").replace(/\r\n|\n/g, "\r");
  return {
    text,
    bytes: new TextEncoder().encode(text).length,
    lines: countLines(text),
    removed: wellFormed.match(FORBIDDEN)?.length ?? 0,
  };
}

/** Whether the user should see it before it is sent. A line end, even a last one, runs what stands before it. */
export function mustAsk(paste: Paste): boolean {
  return paste.bytes > ASK_BYTES || paste.text.includes("\r");
}

/** Join the lines by single spaces: for a command that was wrapped by whatever showed it. */
export function asOneLine(paste: Paste): Paste {
  return cleanPaste(
    paste.text
      .split("\r")
      .map((line) => line.trim())
      .filter((line) => line !== "")
      .join(" "),
  );
}

/** The beginning of it for a preview, at most so many lines and characters; line ends as LF. */
export function preview(paste: Paste, lines = 12, characters = 1200): string {
  const shown = paste.text.split("\r").slice(0, lines).join("\n").slice(0, characters).replace(LONE, "");
  return shown.length < paste.text.length && shown.length > 0 ? `${shown.trimEnd()}\n…` : shown;
}

function countLines(text: string): number {
  if (text === "") return 0;
  return text.split("\r").length - (text.endsWith("\r") ? 1 : 0);
}
