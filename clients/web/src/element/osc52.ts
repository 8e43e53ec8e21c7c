// What a program asks of the clipboard (OSC 52): pure reading of the request.

/** In characters of base64; what is longer is not asked about. */
const LONGEST = 1_400_000;

export type ClipboardRequest = { kind: "write"; text: string } | { kind: "read" } | { kind: "invalid"; why: string };

/** Read the payload of OSC 52: `selection ; base64`, or `selection ; ?` where the program wants to read. */
export function readClipboardRequest(payload: string): ClipboardRequest {
  const separator = payload.indexOf(";");
  if (separator === -1) return { kind: "invalid", why: "it has no data" };
  const data = payload.slice(separator + 1);
  if (data === "?") return { kind: "read" };
  if (data.length > LONGEST) return { kind: "invalid", why: "it is larger than 1 MB" };
  try {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    return { kind: "write", text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch {
    return { kind: "invalid", why: "it is not text in base64" };
  }
}
