// Words for what happens to a terminal: sizes, gaps, ends. Pure; English only, as the service's messages are.
import type { Events } from "../client/types.ts";

const UNITS = ["bytes", "KB", "MB", "GB", "TB"] as const;

/** "0 bytes", "1 byte", "3.1 MB": decimal units, at most three digits. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  if (unit === 0) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  return `${value < 9.95 ? value.toFixed(1) : value.toFixed(0)} ${UNITS[unit] ?? ""}`;
}

/** What to say where output is missing. */
export function gapText(lostBytes: number, reason: Events["gap"]["reason"]): string {
  if (reason === "torn") return "output may be missing: the service was stopped here";
  const what = `skipped ${formatBytes(lostBytes)}`;
  return reason === "trimmed" ? `${what}, no longer kept` : what;
}

/** How an end is told: "The program ended with exit code 1"; what the service adds follows in brackets. Or why nobody knows it. */
export function endedText({ reason, exitCode, signal, message }: Events["ended"]): string {
  const lost = LOSSES[reason];
  if (lost !== undefined) return `The session is lost: ${message || lost}`;
  let how = "The session is over";
  if (signal) how = `The program was ended by ${signal}`;
  else if (exitCode !== null) how = `The program ended with exit code ${exitCode}`;
  const why = message || (reason === "Process exited" ? "" : reason); // which is what was just said
  if (why.includes("(")) return `${how}: ${why}`; // no brackets in brackets
  return why ? `${how} (${why})` : how;
}

/** Why nobody knows how a program ended, by reason; the service mostly says more. */
export const LOSSES: Readonly<Record<string, string>> = {
  link_lost: "the link to where it ran is gone",
  place_lost: "what it ran in is gone",
  node_lost: "the machine it ran on is gone",
  holder_lost: "what kept its programs is gone",
};

/** Why the service will not have us, by close code; its own reason where that says more. */
export function refusedText(code: number | null, reason: string): string {
  const known = code === null ? undefined : REFUSALS[code];
  if (known !== undefined && !MORE.has(code ?? 0)) return known;
  const what = known ?? "The service refused the connection";
  return reason ? `${what} (${reason.slice(0, 200)})` : what;
}

const REFUSALS: Record<number, string> = {
  4400: "The service did not understand this page",
  4401: "Please sign in: the service wants to know who you are",
  4403: "You may not open this terminal",
  4404: "There is no such session (any more)",
  4409: "This terminal was opened by the same client elsewhere",
  4410: "The session is over",
  4429: "Too many are looking at this session already",
};

/** The service says of these what exactly it did not like. */
const MORE = new Set([4400, 4401, 4403]);

/** "trying again in 4 s", "trying again now". */
export function retryText(milliseconds: number): string {
  return milliseconds <= 0 ? "trying again now" : `trying again in ${Math.ceil(milliseconds / 1000)} s`;
}

/** "12 bytes typed wait", empty if none does. */
export function pendingText(bytes: number): string {
  return bytes === 0 ? "" : `${formatBytes(bytes)} typed and waiting`;
}

/** "12 ms", "1.4 s", "–" if unknown. */
export function formatRtt(milliseconds: number | null): string {
  if (milliseconds === null) return "–";
  if (milliseconds < 1) return "<1 ms";
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
