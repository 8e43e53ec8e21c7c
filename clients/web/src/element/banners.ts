// What lies over the terminal when something needs to be known: no link, the end, refusal, storage. The terminal stays below.
import { html, nothing, type TemplateResult } from "lit";
import { endedText, pendingText, refusedText, retryText } from "./texts.ts";
import type { View } from "./view.ts";

export interface BannerActions {
  reconnect(): void;
}

/** All banners that apply now, most urgent first. */
export function banners(view: View, actions: BannerActions, now: number): (TemplateResult | typeof nothing)[] {
  return [lost(view, actions, now), refused(view, actions), ended(view), dropped(view), storage(view)];
}

// The countdown would be read out each second: the words that are announced stand apart from it.
function lost(view: View, actions: BannerActions, now: number) {
  if (!view.wasOpen || (view.state !== "waiting" && view.state !== "connecting")) return nothing;
  const typed = pendingText(view.pendingBytes);
  return html`<div class="banner warning patient" part="banner banner-lost">
    <span role="status">The connection is gone; the session goes on.</span>
    ${typed ? html`<span class="more">${typed}</span>` : nothing}
    <span class="more">${view.retryAt === null ? "trying again now" : retryText(view.retryAt - now)}</span>
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

function ended(view: View) {
  if (view.ended === null) return view.state === "ended" ? endedBanner("The session is over") : nothing;
  return endedBanner(endedText(view.ended));
}

function endedBanner(text: string) {
  return html`<div class="banner" part="banner banner-ended" role="status"><span>${text}</span></div>`;
}

function dropped(view: View) {
  if (view.droppedBytes === 0) return nothing;
  return html`<div class="banner error" part="banner banner-dropped" role="alert">
    <span>Too much typing waits for the service: ${view.droppedBytes} bytes were not taken.</span>
  </div>`;
}

function storage(view: View) {
  if (view.storage === null) return nothing;
  return html`<div class="banner warning" part="banner banner-storage" role="status">
    <span>Output is kept in memory only${view.storage.reason ? ` (${view.storage.reason})` : ""}: a restart of the service would lose it.</span>
  </div>`;
}
