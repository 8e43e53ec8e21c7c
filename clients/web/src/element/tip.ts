// What a link leads to, shown while the pointer is on it.
import { html, nothing } from "lit";
import type { HoveredLink } from "./links.ts";

/** The tip for a link, near the pointer, within `owner`. */
export function tip(link: HoveredLink | null, owner: HTMLElement) {
  if (link === null) return nothing;
  const area = owner.getBoundingClientRect();
  const below = link.y - area.top < area.height / 2;
  const x = `left: ${Math.max(8, Math.min(link.x - area.left, area.width - 220))}px`;
  const y = below ? `top: ${link.y - area.top + 18}px` : `bottom: ${area.bottom - link.y + 14}px`;
  return html`<div class="tip" part="tip" role="tooltip" .style=${`${x}; ${y}`}>${words(link)}</div>`;
}

function words({ uri, target, misleading }: HoveredLink) {
  if (target === null) {
    return html`${uri.slice(0, 300)}<span class="more">is not opened: only web and mail addresses are</span>`;
  }
  const shown = target.href.length > 300 ? `${target.href.slice(0, 300)}…` : target.href;
  return html`${misleading ? html`<strong class="bad">leads to ${target.where}, not where its text says</strong><br />` : nothing}
    ${shown}<span class="more">${/Mac|iP/.test(navigator.platform) ? "⌘" : "Ctrl"}+click opens it</span>`;
}
