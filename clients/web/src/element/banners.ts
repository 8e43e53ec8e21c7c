// What lies over the terminal when something needs to be known or answered. The terminal stays as it is below.
import { html, nothing } from "lit";
import { keyed } from "lit/directives/keyed.js";
import type { Permission } from "./clipboard.ts";
import { endedText, formatBytes, gapText, pendingText, refusedText, retryText } from "./texts.ts";
import type { View } from "./view.ts";

export interface BannerActions {
  reconnect(): void;
  cancelPaste(): void;
  answerCopy(how: "once" | Permission): void;
  dismiss(what: string): void;
}

/** All banners that apply at `now`, most urgent first; `dismissed` were closed by the visitor. */
export function banners(view: View, actions: BannerActions, now: number, dismissed: ReadonlySet<string>) {
  const closable = (what: string, banner: (close: unknown) => unknown) =>
    dismissed.has(what) ? nothing : banner(closeButton(() => actions.dismiss(what)));
  return html`
    ${lost(view, actions, now)} ${refused(view, actions)} ${closable("ended", (close) => ended(view, close))}
    ${dropped(view)} ${copying(view, actions)} ${pasting(view, actions)}
    ${closable("draining", (close) => draining(view, close))} ${closable("storage", (close) => storage(view, close))}
    ${closable(`notice ${view.notice?.message}`, (close) => notice(view, close))} ${passing(view)}
  `;
}

// A countdown would be read out each second: the words that are announced stand apart from it.
function lost(view: View, actions: BannerActions, now: number) {
  if (view.state !== "waiting" && view.state !== "connecting") return nothing;
  const what = view.wasOpen ? "The connection is gone; the session goes on." : "There is no connection yet.";
  const typed = pendingText(view.pendingBytes);
  return html`<div class="banner warning patient" part="banner banner-lost">
    <span role="status">${what}</span>
    ${typed ? html`<span class="more">${typed}</span>` : nothing}
    <span class="more">${view.retryAt === null ? "connecting" : retryText(view.retryAt - now)}</span>
    <button @click=${actions.reconnect}>Try now</button>
  </div>`;
}

function refused(view: View, actions: BannerActions) {
  if (view.state !== "refused") return nothing;
  return html`<div class="banner error" part="banner banner-refused" role="alert">
    <span>${refusedText(view.code, view.reason)}</span>
    <button @click=${actions.reconnect}>Try again</button>
  </div>`;
}

function ended(view: View, close: unknown) {
  if (view.ended === null && view.state !== "ended") return nothing;
  return html`<div class="banner" part="banner banner-ended">
    <span role="status">${view.ended ? endedText(view.ended) : "The session is over"}</span>${close}
  </div>`;
}

function dropped(view: View) {
  if (view.droppedBytes === 0) return nothing;
  return html`<div class="banner error" part="banner banner-dropped" role="alert">
    <span>Too much input waits for the service: ${formatBytes(view.droppedBytes)} were not taken.</span>
  </div>`;
}

function copying(view: View, actions: BannerActions) {
  if (view.copying === null) return nothing;
  const text = view.copying.length > 60 ? `${view.copying.slice(0, 60)}…` : view.copying;
  return html`<div class="banner" part="banner banner-clipboard" role="alertdialog" aria-label="Clipboard">
    <span>The program wants to put <q>${text}</q> (${view.copying.length} characters) into your clipboard.</span>
    <span class="choices">
      <button @click=${() => actions.answerCopy("once")}>Allow once</button>
      <button @click=${() => actions.answerCopy("always")}>Always in this session</button>
      <button @click=${() => actions.answerCopy("never")}>Never</button>
    </span>
  </div>`;
}

function pasting(view: View, actions: BannerActions) {
  if (view.progress === null) return nothing;
  const { sentBytes, totalBytes } = view.progress;
  return html`<div class="banner" part="banner banner-paste">
    <label>Pasting <progress max=${totalBytes} .value=${sentBytes}></progress></label>
    <span class="more">${formatBytes(sentBytes)} of ${formatBytes(totalBytes)}</span>
    <button @click=${actions.cancelPaste}>Cancel</button>
  </div>`;
}

function storage(view: View, close: unknown) {
  if (view.storage === null) return nothing;
  const why = view.storage.reason ? ` (${view.storage.reason})` : "";
  return html`<div class="banner warning" part="banner banner-storage">
    <span role="status">Output is kept in memory only${why}: a restart of the service would lose it.</span>${close}
  </div>`;
}

function draining(view: View, close: unknown) {
  if (view.draining === null || view.ended !== null) return nothing;
  const time = new Date(view.draining).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
  return html`<div class="banner warning" part="banner banner-draining">
    <span role="status">The server of this session is being shut down, at ${time} at the latest.</span>${close}
  </div>`;
}

// In the words of the service: it knows the place.
function notice(view: View, close: unknown) {
  if (view.notice === null || view.ended !== null || view.state === "waiting" || view.state === "connecting") {
    return nothing;
  }
  const { kind, message } = view.notice;
  const tone = kind === "progress" ? "patient" : "warning";
  return html`<div class="banner ${tone}" part="banner banner-notice">
    <span role="status">${message}</span>${close}
  </div>`;
}

function passing(view: View) {
  if (view.passing === null) return nothing;
  const { lostBytes, reason } = view.passing;
  const banner = html`<div class="banner passing" part="banner banner-gap">
    <span role="status">${gapText(lostBytes, reason)}</span>
  </div>`;
  return keyed(view.passing, banner); // each one is shown anew
}

function closeButton(close: () => void) {
  return html`<button class="close" aria-label="Close" @click=${close}><span aria-hidden="true">✕</span></button>`;
}
