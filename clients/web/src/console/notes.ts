// What a view says when the service does not answer, or wants to know who asks.
import { html, nothing, type TemplateResult } from "lit";
import type { Api } from "./api.ts";
import { formatDuration, formatWhen } from "./format.ts";
import type { Poll } from "./poll.ts";
import { ApiProblem, explain } from "./problem.ts";

/** A line above what was known before; nothing if all is well. `knownAt` is in milliseconds since 1970. */
export function troubleNote(poll: Poll, api: Api | null, knownAt: number): TemplateResult | typeof nothing {
  if (poll.error === null) return nothing;
  if (isSignInNeeded(poll.error)) return html`<div class="note">${signInLine(api)}</div>`;
  return html`<div class="note">
    <span
      ><span role="status">${sentence(explain(poll.error))} This is what was known at ${formatTime(knownAt)}.</span>
      <span>${nextTry(poll)}</span></span
    ><button @click=${() => poll.now()}>Try now</button>
  </div>`;
}

/** In the place of what has not been seen yet. */
export function waitingNote(poll: Poll, api: Api | null, what: string): TemplateResult {
  if (poll.error === null) return html`<div class="empty" role="status"><p>Looking for ${what}…</p></div>`;
  if (isSignInNeeded(poll.error)) return html`<div class="empty">${signInLine(api)}</div>`;
  return html`<div class="empty">
    <h2>${capital(what)} cannot be shown</h2>
    <p role="alert">${sentence(explain(poll.error))}</p>
    <p>${nextTry(poll)}</p>
    <button @click=${() => poll.now()}>Try now</button>
  </div>`;
}

/** Text as a sentence: a capital at its beginning, at its end a full stop, or what it has there already. */
export function sentence(text: string): string {
  const trimmed = text.trim().replace(/[.\s]+$/, "");
  return `${capital(trimmed)}${/[?!…]$/.test(trimmed) ? "" : "."}`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function signInLine(api: Api | null): TemplateResult {
  return html`<span>The service wants to know who you are.</span
    ><button class="primary" @click=${() => api?.askToSignIn()}>Sign in</button>`;
}

function nextTry(poll: Poll): string {
  const wait = poll.nextAt === null ? 0 : Math.ceil((poll.nextAt - Date.now()) / 1000);
  return poll.isBusy || wait <= 0 ? "Trying again…" : `Next try in ${formatDuration(wait)}.`;
}

function formatTime(ms: number): string {
  return formatWhen(ms / 1000, Date.now() / 1000);
}

function isSignInNeeded(error: unknown): boolean {
  return error instanceof ApiProblem && error.status === 401;
}
