// <session-list>: the sessions there are, kept up to date, and what can be done with each.
import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { controls } from "./controls.ts";
import "./end_dialog.ts";
import type { Api } from "./api.ts";
import type { EndSession } from "./end_dialog.ts";
import { formatCount } from "./format.ts";
import { troubleNote, waitingNote } from "./notes.ts";
import { noteStyles } from "./notes_styles.ts";
import { Poll } from "./poll.ts";
import { isLiving, type Session } from "./session.ts";
import { SessionActs } from "./session_acts.ts";
import "./session_details.ts";
import { actionOf, rowAfter, stepWithin } from "./session_keys.ts";
import { listStyles } from "./session_list_styles.ts";
import "./session_menu.ts";
import type { SessionAction, SessionMenu } from "./session_menu.ts";
import { arrange, isOrder, ORDERS, type Order, placeAfter } from "./session_order.ts";
import { sessionRow } from "./session_row.ts";
import { sign } from "./signs.ts";

const INTERVAL_MS = 2000;
/** Rows drawn at first: more of them would only be scrolled past. */
const SHOWN = 200;

export type How = "here" | "split-right" | "split-down" | "tab";

/**
 * Fires `open-session` {sessionId, how}, `new-session` (the list is empty, and somebody wants one) and
 * `sessions-changed` {sessions} after every look; all bubble out of shadow roots.
 */
export class SessionList extends LitElement {
  static override properties = {
    api: { attribute: false },
    current: { attribute: false },
    sessions: { state: true },
    filter: { state: true },
    order: { state: true },
    place: { state: true },
    renaming: { state: true },
    detailed: { state: true },
    limit: { state: true },
  };
  static override styles = [controls, noteStyles, listStyles];

  declare api: Api | null;
  /** Sessions that are on the screen: they are marked. */
  declare current: readonly string[];
  declare private sessions: readonly Session[] | null;
  declare private filter: string;
  declare private order: Order;
  declare private place: string | null;
  declare private renaming: string | null;
  declare private detailed: string | null;
  declare private limit: number;
  readonly #poll = new Poll(this, (signal) => this.#look(signal), INTERVAL_MS);
  readonly #acts = new SessionActs(this);
  #shown: Session[] = [];
  #lookedAt = 0;
  #ticker: ReturnType<typeof setInterval> | undefined;
  #focused: { id: string; element: HTMLElement } | null = null;

  constructor() {
    super();
    this.api = null;
    this.current = [];
    this.sessions = null;
    this.filter = "";
    this.order = "newest";
    this.place = null;
    this.renaming = null;
    this.detailed = null;
    this.limit = SHOWN;
  }

  /** Look at once. */
  refresh(): void {
    this.#poll.now();
  }

  /** Give the keyboard to the list, or to the filter where nothing is listed. */
  override focus(): void {
    if (this.place) this.#focusRow(this.place);
    else this.renderRoot.querySelector("input")?.focus();
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#ticker = setInterval(() => {
      if (!document.hidden) this.requestUpdate(); // times go on between two looks
    }, 1000);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.#ticker);
  }

  // -- what there is

  async #look(signal: AbortSignal): Promise<void> {
    if (!this.api) return;
    const sessions = await this.api.list(["all"], { signal });
    this.#lookedAt = Date.now();
    this.#take(sessions);
  }

  /** Show a session as it is now, until the next look. */
  replace(session: Session): void {
    this.#take((this.sessions ?? []).map((each) => (each.session_id === session.session_id ? session : each)));
  }

  #take(sessions: readonly Session[]): void {
    this.sessions = sessions;
    this.dispatchEvent(new CustomEvent("sessions-changed", { detail: { sessions }, bubbles: true, composed: true }));
  }

  readonly #onIdentity = (): void => {
    if (this.api && !this.api.isSignedIn) this.sessions = null; // of somebody who has left
    this.#poll.now();
  };

  override willUpdate(changed: PropertyValues<this>): void {
    if (changed.has("api")) {
      const before = changed.get("api");
      for (const name of ["signed-in", "signed-out"]) {
        before?.removeEventListener(name, this.#onIdentity);
        this.api?.addEventListener(name, this.#onIdentity);
      }
      this.sessions = null;
      this.#poll.now();
    }
    this.#rememberFocus();
    const before = this.#shown.map((each) => each.session_id);
    this.#shown = this.#arranged();
    const now = this.#shown.map((each) => each.session_id);
    this.place = (this.place && placeAfter(before, now, this.place)) ?? now[0] ?? null;
  }

  #arranged(): Session[] {
    const arranged = arrange(this.sessions ?? [], this.filter, this.order);
    if (this.renaming === null && !this.#menu?.isOpen) return arranged;
    const places = new Map(this.#shown.map((each, place) => [each.session_id, place])); // nothing moves under a hand
    const placeOf = (session: Session) => places.get(session.session_id) ?? places.size;
    return arranged.sort((a, b) => placeOf(a) - placeOf(b));
  }

  // -- focus: a row that moves, or leaves, must not take it away

  #rememberFocus(): void {
    const active = this.shadowRoot?.activeElement;
    const id = active instanceof HTMLElement ? active.closest<HTMLElement>("[data-id]")?.dataset["id"] : undefined;
    this.#focused = id && active instanceof HTMLElement ? { id, element: active } : null;
  }

  override updated(changed: PropertyValues<this>): void {
    if ((changed as PropertyValues).has("renaming") && this.renaming !== null) {
      const input = this.renderRoot.querySelector<HTMLInputElement>("input.rename");
      input?.focus();
      input?.select();
      return;
    }
    const before = this.#focused;
    if (!before || this.shadowRoot?.activeElement) return;
    if (before.element.isConnected) before.element.focus({ preventScroll: true });
    else this.#focusRow(this.place);
  }

  #focusRow(id: string | null): void {
    if (id === null) return;
    this.place = id;
    const row = this.renderRoot.querySelector<HTMLElement>(rowOf(id));
    row?.focus();
    row?.scrollIntoView({ block: "nearest" });
  }

  // -- what is drawn

  override render(): TemplateResult {
    return html`
      ${this.#bar()} ${this.#note()}
      <div class="unseen" role="status">${this.#acts.isAlarm ? "" : this.#acts.said}</div>
      ${this.sessions === null ? waitingNote(this.#poll, this.api, "sessions") : this.#shown.length ? this.#grid() : this.#nothing()}
      <session-menu @session-action=${this.#onAction}></session-menu>
      <end-session></end-session>
    `;
  }

  #bar(): TemplateResult {
    return html`<div class="bar">
      <div class="search">
        ${sign("search")}
        <input
          type="search"
          aria-label="Filter sessions"
          placeholder="Filter"
          spellcheck="false"
          autocomplete="off"
          .value=${this.filter}
          @input=${this.#onFilter}
          @keydown=${this.#onFilterKey}
        />
      </div>
      <select aria-label="Order of sessions" @change=${this.#onOrder}>
        ${Object.entries(ORDERS).map(
          ([order, label]) => html`<option value=${order} ?selected=${order === this.order}>${label}</option>`,
        )}
      </select>
    </div>`;
  }

  #note(): TemplateResult | typeof nothing {
    if (this.#acts.isAlarm) {
      return html`<div class="note bad" role="alert">
        <span>${this.#acts.said}</span><button @click=${() => this.#acts.say("")}>Dismiss</button>
      </div>`;
    }
    if (this.sessions === null) return nothing;
    if (!this.#poll.error && this.api?.isListCut) {
      return html`<div class="note"><span>There are more sessions than are listed here.</span></div>`;
    }
    return troubleNote(this.#poll, this.api, this.#lookedAt);
  }

  #nothing(): TemplateResult {
    if (this.sessions?.length) {
      return html`<div class="empty">
        <h3>No session matches</h3>
        <p>${formatCount(this.sessions.length)} hidden by the filter.</p>
        <button @click=${() => this.#filterBy("")}>Show all</button>
      </div>`;
    }
    return html`<div class="empty">
      <h3>No sessions yet</h3>
      <p>A session is a shell that goes on when you close this page, and is here when you come back.</p>
      <button class="primary" @click=${() => this.#fire("new-session")}>${sign("plus")} New session</button>
    </div>`;
  }

  #grid(): TemplateResult {
    const now = this.api?.now() ?? Date.now() / 1000;
    const rest = this.#shown.length - this.limit;
    return html`
      <div
        class="rows"
        role="grid"
        aria-label="Sessions"
        aria-rowcount=${this.#shown.length}
        @keydown=${this.#onKey}
        @click=${this.#onClick}
        @auxclick=${this.#onClick}
        @contextmenu=${this.#onContextMenu}
        @focusin=${this.#onFocus}
      >
        ${repeat(
          this.#shown.slice(0, this.limit),
          (session) => session.session_id,
          (session) => this.#row(session, now),
        )}
        ${
          rest > 0
            ? html`<div role="row"><div role="gridcell">
                <button class="rest" @click=${() => this.#showRest()}>Show ${formatCount(rest)} more</button>
              </div></div>`
            : nothing
        }
      </div>
      <div class="foot">${this.#count()}</div>
    `;
  }

  #row(session: Session, now: number): TemplateResult {
    const id = session.session_id;
    const row = sessionRow(session, {
      now,
      isCurrent: id === this.place,
      isOpen: this.current.includes(id),
      isRenaming: id === this.renaming,
      isBusy: this.#acts.isBusy(session),
      filterBy: (text) => this.#filterBy(text),
    });
    if (id !== this.detailed) return row;
    return html`${row}
      <div role="row" class="details" data-id=${id}>
        <div role="gridcell"><session-details .session=${session} .now=${now}></session-details></div>
      </div>`;
  }

  #count(): string {
    const all = this.sessions ?? [];
    const living = all.filter(isLiving).length;
    const matching = this.#shown.length < all.length ? `${formatCount(this.#shown.length)} shown · ` : "";
    return `${matching}${formatCount(living)} running · ${formatCount(all.length - living)} ended`;
  }

  // -- what is done with the mouse and the keyboard

  readonly #onFilter = (event: Event): void => this.#filterBy((event.target as HTMLInputElement).value);

  #filterBy(text: string): void {
    this.filter = text;
    this.limit = SHOWN;
  }

  readonly #onFilterKey = (event: KeyboardEvent): void => {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      this.#focusRow(this.place);
    } else if (event.key === "Escape" && this.filter) {
      event.stopPropagation();
      this.#filterBy("");
    }
  };

  readonly #onOrder = (event: Event): void => {
    const { value } = event.target as HTMLSelectElement;
    if (isOrder(value)) this.order = value;
  };

  #showRest(): void {
    this.place = this.#shown[this.limit]?.session_id ?? this.place;
    this.limit = Number.POSITIVE_INFINITY;
  }

  readonly #onFocus = (event: FocusEvent): void => {
    this.place = idAt(event) ?? this.place;
  };

  readonly #onClick = (event: MouseEvent): void => {
    const session = this.#sessionAt(event);
    const target = event.target as Element;
    if (!session || event.button > 1) return;
    const more = target.closest<HTMLElement>("button.more");
    if (more) void this.#openMenu(session, more);
    else if (target.closest("button, input, .details")) return;
    else if (document.getSelection()?.type === "Range")
      return; // somebody marks text
    else this.#do(session, event.button === 1 || event.ctrlKey || event.metaKey ? "tab" : "here");
  };

  readonly #onContextMenu = (event: MouseEvent): void => {
    const session = this.#sessionAt(event);
    const row = (event.target as Element).closest<HTMLElement>(".row");
    if (!session || !row || event.shiftKey) return;
    event.preventDefault();
    const isPointed = event.clientX > 0 || event.clientY > 0;
    void this.#openMenu(session, row, isPointed ? { x: event.clientX, y: event.clientY } : undefined);
  };

  readonly #onKey = (event: KeyboardEvent): void => {
    const session = this.#sessionAt(event);
    const target = event.target as HTMLElement;
    if (!session || event.isComposing) return;
    if (target.matches("input.rename")) this.#onRenameKey(event, session, target as HTMLInputElement);
    else if (target.closest(".details")) return;
    else if (this.#move(event, session) || this.#press(event, session, target)) event.preventDefault();
  };

  /** Up, down, to either end; to the buttons of a row and back. */
  #move(event: KeyboardEvent, session: Session): boolean {
    const ids = this.#shown.slice(0, this.limit).map((each) => each.session_id);
    const to = rowAfter(event, ids.indexOf(session.session_id), ids.length);
    if (to !== null) this.#focusRow(ids[to] ?? null);
    return to !== null || this.#moveWithin(event.target as HTMLElement, stepWithin(event));
  }

  #moveWithin(from: HTMLElement, step: number): boolean {
    const row = from.closest<HTMLElement>(".row");
    if (!row || step === 0) return false;
    const stops = [row, ...row.querySelectorAll<HTMLElement>("button")];
    stops[Math.max(0, Math.min(stops.length - 1, stops.indexOf(from) + step))]?.focus();
    return true;
  }

  /** Keys for what the menu has, on the row itself; on its buttons, Enter and Space press them. */
  #press(event: KeyboardEvent, session: Session, target: HTMLElement): boolean {
    if (target.matches("button") && (event.key === "Enter" || event.key === " ")) return false;
    const action = event.key === "Escape" && this.detailed ? "details" : actionOf(event);
    if (action !== null) this.#do(session, action);
    return action !== null;
  }

  #onRenameKey(event: KeyboardEvent, session: Session, input: HTMLInputElement): void {
    event.stopPropagation();
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    const name = input.value.trim();
    this.renaming = null;
    this.#refocus(session.session_id);
    if (event.key === "Enter" && name !== session.name) void this.#acts.rename(session, name);
  }

  #refocus(id: string): void {
    void this.updateComplete.then(() => this.#focusRow(id));
  }

  // -- what is done to a session

  readonly #onAction = (event: CustomEvent<{ sessionId: string; action: SessionAction }>): void => {
    const session = this.#find(event.detail.sessionId);
    if (session) this.#do(session, event.detail.action);
  };

  #do(session: Session, action: SessionAction | "menu"): void {
    const id = session.session_id;
    if (action === "menu") void this.#openMenu(session);
    else if (action === "details") this.detailed = this.detailed === id ? null : id;
    else if (action === "copy") void this.#acts.copyId(session);
    else if (action === "rename") this.renaming = isLiving(session) ? id : this.renaming;
    else if (action === "keepalive") void this.#acts.keepAlive(session);
    else if (action === "end") void this.#end(session);
    else this.#fire("open-session", { sessionId: id, how: action satisfies How });
  }

  async #openMenu(session: Session, opener?: HTMLElement, at?: { x: number; y: number }): Promise<void> {
    const row = opener ?? this.renderRoot.querySelector<HTMLElement>(rowOf(session.session_id));
    if (row) await this.#menu?.show(session, row, at);
  }

  async #end(session: Session): Promise<void> {
    const dialog = this.renderRoot.querySelector<EndSession>("end-session");
    if (isLiving(session) && (await dialog?.ask(session))) await this.#acts.end(session);
  }

  #fire(name: string, detail: object = {}): void {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  get #menu(): SessionMenu | null {
    return this.renderRoot?.querySelector<SessionMenu>("session-menu") ?? null;
  }

  #find(id: string | null): Session | undefined {
    return this.sessions?.find((session) => session.session_id === id);
  }

  #sessionAt(event: Event): Session | undefined {
    return this.#find(idAt(event));
  }
}

function idAt(event: Event): string | null {
  return (event.target as Element).closest<HTMLElement>("[data-id]")?.dataset["id"] ?? null;
}

function rowOf(id: string): string {
  return `.row[data-id="${CSS.escape(id)}"]`;
}

customElements.define("session-list", SessionList);
