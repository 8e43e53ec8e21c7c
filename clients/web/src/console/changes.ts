// What somebody changes of a session: from a form to a merge patch (RFC 7396) of what is different.
import { parseDuration, spellDuration } from "./format.ts";
import type { Session, SessionChanges } from "./session.ts";
import { isPolicy, type Pair, pairErrors } from "./wishes.ts";

/** The state of the form. */
export interface Edited {
  readonly name: string;
  readonly labels: readonly Pair[];
  /** "" as it is, "default" the service's, "custom" as `lifetimeText` says, or seconds. */
  readonly lifetime: string;
  readonly lifetimeText: string;
  readonly policy: string;
}

/** What is sent, and what is wrong with it already, by the service's names of fields. */
export interface Patch {
  readonly changes: SessionChanges;
  readonly errors: Readonly<Record<string, string>>;
}

/** Return the form for a session as it is. */
export function editedOf(session: Session): Edited {
  return {
    name: session.name,
    labels: Object.entries(session.labels).map(([name, value]) => ({ name, value })),
    lifetime: "",
    lifetimeText: spellDuration(session.ttl_seconds),
    policy: session.size_policy ?? "",
  };
}

/** Return the patch that makes of a session what the form says; empty where nothing is different. */
export function patchOf(session: Session, edited: Edited): Patch {
  const errors: Record<string, string> = {};
  const name = edited.name.trim();
  const wrongLabels = pairErrors("labels", edited.labels);
  if (wrongLabels) errors["labels"] = wrongLabels;
  const seconds = edited.lifetime === "custom" ? parseDuration(edited.lifetimeText) : Number(edited.lifetime);
  if (edited.lifetime === "custom" && seconds === null) errors["ttl_seconds"] = "a length of time, as 90m, 12h or 2d";
  const labels = labelChanges(session.labels, edited.labels);
  const changes: SessionChanges = {
    ...(name === session.name ? {} : { name }),
    ...(labels ? { labels } : {}),
    ...(edited.lifetime ? { ttl_seconds: edited.lifetime === "default" ? null : seconds } : {}),
    ...(isPolicy(edited.policy) && edited.policy !== session.size_policy ? { size_policy: edited.policy } : {}),
  };
  return { changes, errors };
}

/** Labels that are gone are null; null if nothing is different. */
function labelChanges(before: Record<string, string>, pairs: readonly Pair[]): Record<string, string | null> | null {
  const now = Object.fromEntries(
    pairs.filter((pair) => pair.name || pair.value).map(({ name, value }) => [name, value]),
  );
  const gone = Object.keys(before).filter((name) => !Object.hasOwn(now, name));
  const set = Object.entries(now).filter(([name, value]) => before[name] !== value);
  if (gone.length + set.length === 0) return null;
  return { ...Object.fromEntries(gone.map((name) => [name, null])), ...Object.fromEntries(set) };
}
