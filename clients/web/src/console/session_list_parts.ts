// What is above, below and in the place of the rows of the list of sessions. Only templates.
import { html, type TemplateResult } from "lit";
import { formatCount } from "./format.ts";
import { isLiving, type Session } from "./session.ts";
import { isOrder, ORDERS, type Order } from "./session_order.ts";
import { sign } from "./signs.ts";

/** What the bar shows, and what it tells. */
export interface Bar {
  readonly filter: string;
  readonly order: Order;
  readonly filterBy: (text: string) => void;
  readonly orderBy: (order: Order) => void;
  /** The keyboard wants to go to the rows. */
  readonly leave: () => void;
}

/** The filter and the order. */
export function listBar(bar: Bar): TemplateResult {
  return html`<div class="bar">
    <div class="search">
      ${sign("search")}
      <input
        type="search"
        aria-label="Filter sessions"
        placeholder="Filter"
        spellcheck="false"
        autocomplete="off"
        .value=${bar.filter}
        @input=${(event: Event) => bar.filterBy((event.target as HTMLInputElement).value)}
        @keydown=${(event: KeyboardEvent) => onFilterKey(event, bar)}
      />
    </div>
    <select aria-label="Order of sessions" @change=${(event: Event) => onOrder(event, bar)}>
      ${Object.entries(ORDERS).map(
        ([order, label]) => html`<option value=${order} ?selected=${order === bar.order}>${label}</option>`,
      )}
    </select>
  </div>`;
}

/** Nothing is there. */
export function noSessions(create: () => void): TemplateResult {
  return html`<div class="empty">
    <h2>No sessions yet</h2>
    <p>A session is a shell that goes on when you close this page, and is here when you come back.</p>
    <button class="primary" @click=${create}>${sign("plus")} New session</button>
  </div>`;
}

/** Nothing matches. */
export function noMatch(hidden: number, showAll: () => void): TemplateResult {
  return html`<div class="empty">
    <h2>No session matches</h2>
    <p>${formatCount(hidden)} hidden by the filter.</p>
    <button @click=${showAll}>Show all</button>
  </div>`;
}

/** How many there are. */
export function counts(all: readonly Session[], shown: number): string {
  const living = all.filter(isLiving).length;
  const matching = shown < all.length ? `${formatCount(shown)} shown · ` : "";
  return `${matching}${formatCount(living)} running · ${formatCount(all.length - living)} ended`;
}

function onFilterKey(event: KeyboardEvent, bar: Bar): void {
  if (event.key === "ArrowDown" || event.key === "Enter") {
    event.preventDefault();
    bar.leave();
  } else if (event.key === "Escape" && bar.filter) {
    event.stopPropagation();
    bar.filterBy("");
  }
}

function onOrder(event: Event, bar: Bar): void {
  const { value } = event.target as HTMLSelectElement;
  if (isOrder(value)) bar.orderBy(value);
}
