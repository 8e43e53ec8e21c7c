// How long a session has to live, and what keeps it alive, in words.
import { LOSSES } from "../element/texts.ts";
import { formatAgo, formatDuration, plural, spellDuration } from "./format.ts";
import { isLiving, type Session } from "./session.ts";

/** Rounding in transit: two times that differ by less are the same. */
const SLACK_SECONDS = 3;

const SOURCES: Readonly<Record<string, string>> = {
  created: "created",
  input: "input",
  resize: "a new size",
  viewer: "a viewer",
  update: "a change",
  keepalive: "kept alive by hand",
};

/** What is shown of a session's time; `isSoon`: it ends within a minute or a tenth of its time, unless it is used. */
export interface Lifetime {
  readonly secondsLeft: number;
  /** As `42m 3s`. */
  readonly left: string;
  readonly isSoon: boolean;
  readonly isHeld: boolean;
  /** One phrase: what keeps it alive, or what did last. */
  readonly because: string;
  /** All of it as a sentence, for those who hear it and for tooltips. */
  readonly sentence: string;
}

/** Return what there is to say at `now` (seconds, the service's clock); null for a session that has ended. */
export function lifetimeOf(session: Session, now: number): Lifetime | null {
  if (!isLiving(session) || session.expires_at === null) return null;
  const secondsLeft = Math.max(0, session.expires_at - now);
  const isCapped = isAtMaximum(session);
  const isHeld = !isCapped && session.kept_alive_by.length > 0;
  const because = isCapped ? "its maximum age" : reason(session, now);
  const end = `ends in ${spellDuration(secondsLeft)}`;
  return {
    secondsLeft,
    left: formatDuration(secondsLeft),
    isSoon: !isHeld && secondsLeft < Math.max(60, Math.min(600, session.ttl_seconds / 10)),
    isHeld,
    because,
    sentence: isCapped
      ? `${end}: it will have reached its maximum age, which nothing extends`
      : `${end} unless it is used; ${because}`,
  };
}

/** Whether its end is the end of the longest life a session may have. */
function isAtMaximum({ expires_at: end, lifetime_ends_at: last }: Session): boolean {
  return end !== null && last !== null && end > last - SLACK_SECONDS;
}

function reason(session: Session, now: number): string {
  const count = session.kept_alive_by.length;
  if (count === 1) return "kept alive by a viewer who is attached";
  if (count > 1) return `kept alive by ${plural(count, "viewer")} who are attached`;
  const { source, at } = session.last_bump;
  const last = `last bump: ${SOURCES[source] ?? source}, ${formatAgo(now - at)}`;
  return session.viewers.length > 0 ? `${last}; who is attached does not keep it alive` : last;
}

/** How a session ended, as `exit code 1 · deleted, 2 minutes ago`; null while it lives. */
export function endingOf(session: Session, now: number): string | null {
  if (isLiving(session)) return null;
  const how = session.signal ? `SIG${session.signal.replace(/^SIG/, "")}` : codeOf(session);
  const at = session.history.at(-1)?.at;
  const when = at === undefined ? "" : formatAgo(now - at);
  const why = [whyOf(session), when].filter(Boolean).join(", ");
  return [how, why].filter(Boolean).join(" · ");
}

function whyOf(session: Session): string {
  const reason = session.end_reason ?? "";
  return LOSSES[reason] === undefined ? reason : session.end_message || LOSSES[reason];
}

function codeOf(session: Session): string {
  return session.exit_code === null ? "" : `exit code ${session.exit_code}`;
}
