// The keyboard's place in a list of rows that changes under it: a row that moves, or leaves, must not take it away.
import type { LitElement, ReactiveController } from "lit";
import { placeAfter } from "./session_order.ts";

/** Rows have the class `row` and their id in `data-id`; one of them, `place`, is reached by the Tab key. */
export class RowFocus implements ReactiveController {
  place: string | null = null;
  readonly #host: LitElement;
  #ids: readonly string[] = [];
  #focused: HTMLElement | null = null;

  constructor(host: LitElement) {
    this.#host = host;
    host.addController(this);
  }

  /** Take the rows that will be drawn, in order. To be called in `willUpdate`. */
  take(ids: readonly string[]): void {
    this.place = (this.place && placeAfter(this.#ids, ids, this.place)) ?? ids[0] ?? null;
    this.#ids = ids;
  }

  hostUpdate(): void {
    const active = this.#host.shadowRoot?.activeElement;
    this.#focused = active instanceof HTMLElement && active.closest("[data-id]") ? active : null;
  }

  hostUpdated(): void {
    const before = this.#focused;
    if (!before || this.#host.shadowRoot?.activeElement) return;
    if (before.isConnected) before.focus({ preventScroll: true });
    else if (this.place !== null) this.focus(this.place);
    else this.#host.focus(); // no row is left
  }

  /** Give the keyboard to a row. */
  focus(id: string | null): void {
    if (id === null) return;
    this.place = id;
    const row = this.row(id);
    row?.focus();
    row?.scrollIntoView({ block: "nearest" });
    this.#host.requestUpdate();
  }

  /** Give the keyboard to a row as soon as it is drawn. */
  focusSoon(id: string): void {
    void this.#host.updateComplete.then(() => this.focus(id));
  }

  /** Move along a row: its buttons, and itself. False if `from` is in none. */
  moveWithin(from: HTMLElement, step: number): boolean {
    const row = from.closest<HTMLElement>(".row");
    if (!row || step === 0) return false;
    const stops = [row, ...row.querySelectorAll<HTMLElement>("button")];
    stops[Math.max(0, Math.min(stops.length - 1, stops.indexOf(from) + step))]?.focus();
    return true;
  }

  row(id: string): HTMLElement | null {
    return this.#host.renderRoot.querySelector<HTMLElement>(`.row[data-id="${CSS.escape(id)}"]`);
  }
}
