// The slim bar below the terminal: state, size, who is here, how good the link is.
import { html, nothing } from "lit";
import type { State } from "../client/types.ts";
import { describe, people } from "./people.ts";
import { formatBytes, formatRtt, pendingText } from "./texts.ts";
import type { View } from "./view.ts";

const STATES: Record<State, string> = {
  idle: "not connected",
  connecting: "connecting",
  open: "connected",
  waiting: "no connection",
  ended: "ended",
  refused: "refused",
};
const MOST_PEOPLE = 6;
/** Less than this is what is always on its way. */
const LAG_BYTES = 4096;

/** The bar for a view; `self` is our own client id. */
export function statusBar(view: View, self: string, readOnly: boolean) {
  const state = view.state === "open" && view.replaying ? "replaying" : STATES[view.state];
  return html`<div class="status" part="statusbar" role="group" aria-label="Terminal status">
    <span class="state ${view.state}">${state}</span>
    ${readOnly ? html`<span class="badge" title="Your keys are not sent">read only</span>` : nothing}
    <span class="optional">${view.size.cols}×${view.size.rows}</span>
    <span class="grow">${view.title}</span>
    ${view.skippedBytes > 0 ? html`<span class="badge">skipped ${formatBytes(view.skippedBytes)}</span>` : nothing}
    ${view.pendingBytes > 0 && view.state !== "open" ? html`<span>${pendingText(view.pendingBytes)}</span>` : nothing}
    ${linkQuality(view)} ${presence(view, self)}
  </div>`;
}

function linkQuality(view: View) {
  const { lagBytes, mode } = view.link;
  const rttMs = view.state === "open" ? view.link.rttMs : null; // an old one says nothing
  const lag = view.state === "open" && lagBytes > LAG_BYTES ? `${formatBytes(lagBytes)} behind` : "";
  return html`
    ${mode === "exact" ? nothing : html`<span class="badge" title="Delivery mode">${mode}</span>`}
    ${lag ? html`<span title="Output that is not on this screen yet">${lag}</span>` : nothing}
    <span class="optional" title="Round trip to the service">${formatRtt(rttMs)}</span>
  `;
}

function presence(view: View, self: string) {
  const everybody = people(view.viewers, self, view.responder);
  if (everybody.length === 0) return nothing;
  const shown = everybody.slice(0, MOST_PEOPLE);
  const more = everybody.length - shown.length;
  return html`<ul class="people" part="presence" aria-label="Who is here">
      ${shown.map(
        (person) => html`<li
          class="person ${person.answers ? "answers" : ""} ${person.isWriter ? "" : "looks"}"
          .style=${`background: ${person.colour}`}
          title=${describe(person)}
        >
          <span aria-hidden="true">${person.initials}</span><span class="hidden-text">${describe(person)}</span>
        </li>`,
      )}
    </ul>
    ${more > 0 ? html`<span>+${more}</span>` : nothing}`;
}
