// <session-list>: the sessions there are, kept up to date, and what can be done with each.
import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import type { Api } from "./api.ts";
import { controls } from "./controls.ts";
import "./edit_dialog.ts";
import type { EditSession } from "./edit_dialog.ts";
import "./end_dialog.ts";
import type { EndSession } from "./end_dialog.ts";
import { formatCount } from "./format.ts";
import { troubleNote, waitingNote } from "./notes.ts";
import { noteStyles } from "./notes_styles.ts";
import { Poll } from "./poll.ts";
import { RowFocus } from "./row_focus.ts";
import { isLiving, type Session } from "./session.ts";
import { SessionActs } from "./session_acts.ts";
import "./session_details.ts";
import { actionOf, rowAfter, stepWithin } from "./session_keys.ts";
import { counts, listBar, noMatch, noSessions } from "./session_list_parts.ts";
import { listStyles } from "./session_list_styles.ts";
import "./session_menu.ts";
import type { SessionAction, SessionMenu } from "./session_menu.ts";
import { arrange, type Order } from "./session_order.ts";
import { sessionRow } from "./session_row.ts";

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
  declare private renaming: string | null;
  declare private detailed: string | null;
  declare private limit: number;
  readonly #poll = new Poll(
    this,
    (signal) => this.#look(signal),
    INTERVAL_MS,
    () => this.#forget(),
  );
  readonly #rows = new RowFocus(this);
  readonly #acts = new SessionActs(this);
  #shown: Session[] = [];
  #lookedAt = 0;
  #ticker: ReturnType<typeof setInterval> | undefined;

  constructor() {
    super();
    this.api = null;
    this.current = [];
    this.sessions = null;
    this.filter = "";
    this.order = "newest";
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
    if (this.#rows.place) this.#rows.focus(this.#rows.place);
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

  #forget(): void {
    this.sessions = null;
    this.detailed = null;
    this.renaming = null;
  }

  override willUpdate(): void {
    this.#shown = this.#arranged();
    this.#rows.take(this.#shown.map((each) => each.session_id));
  }

  #arranged(): Session[] {
    const arranged = arrange(this.sessions ?? [], this.filter, this.order);
    if (this.renaming === null && !this.#menu?.isOpen) return arranged;
    const places = new Map(this.#shown.map((each, place) => [each.session_id, place])); // nothing moves under a hand
    const placeOf = (session: Session) => places.get(session.session_id) ?? places.size;
    return arranged.sort((a, b) => placeOf(a) - placeOf(b));
  }

  override updated(changed: PropertyValues): void {
    if (!changed.has("renaming") || this.renaming === null) return;
    const input = this.renderRoot.querySelector<HTMLInputElement>("input.rename");
    input?.focus();
    input?.select();
  }

  // -- what is drawn

  override render(): TemplateResult {
    return html`
      ${listBar({
        filter: this.filter,
        order: this.order,
        filterBy: (text) => this.#filterBy(text),
        orderBy: (order) => {
          this.order = order;
        },
        leave: () => this.#rows.focus(this.#rows.place),
      })}
      ${this.#note()}
      <div class="unseen" role="status">${this.#acts.isAlarm ? "" : this.#acts.said}</div>
      ${this.#body()}
      <session-menu @session-action=${this.#onAction}></session-menu>
      <end-session></end-session>
      <edit-session
        .api=${this.api}
        @session-changed=${(event: CustomEvent<{ session: Session }>) => this.replace(event.detail.session)}
      ></edit-session>
    `;
  }

  #body(): TemplateResult {
    if (this.sessions === null) return waitingNote(this.#poll, this.api, "sessions");
    if (this.#shown.length) return this.#grid();
    return this.sessions.length
      ? noMatch(this.sessions.length, () => this.#filterBy(""))
      : noSessions(() => this.#fire("new-session"));
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
      <div class="foot">${counts(this.sessions ?? [], this.#shown.length)}</div>
    `;
  }

  #row(session: Session, now: number): TemplateResult {
    const id = session.session_id;
    const row = sessionRow(session, {
      now,
      isCurrent: id === this.#rows.place,
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

  // -- what is done with the mouse and the keyboard

  #filterBy(text: string): void {
    this.filter = text;
    this.limit = SHOWN;
  }

  #showRest(): void {
    const next = this.#shown[this.limit]?.session_id;
    this.limit = Number.POSITIVE_INFINITY;
    if (next) this.#rows.focusSoon(next);
  }

  readonly #onFocus = (event: FocusEvent): void => {
    this.#rows.place = idAt(event) ?? this.#rows.place;
    this.requestUpdate();
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
    if (to !== null) this.#rows.focus(ids[to] ?? null);
    return to !== null || this.#rows.moveWithin(event.target as HTMLElement, stepWithin(event));
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
    this.#rows.focusSoon(session.session_id);
    if (event.key === "Enter" && name !== session.name) void this.#acts.rename(session, name);
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
    else if (action === "change") void this.renderRoot.querySelector<EditSession>("edit-session")?.show(session);
    else if (action === "rename") this.renaming = isLiving(session) ? id : this.renaming;
    else if (action === "keepalive") void this.#acts.keepAlive(session);
    else if (action === "end") void this.#end(session);
    else this.#fire("open-session", { sessionId: id, how: action satisfies How });
  }

  async #openMenu(session: Session, opener?: HTMLElement, at?: { x: number; y: number }): Promise<void> {
    const row = opener ?? this.#rows.row(session.session_id);
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

customElements.define("session-list", SessionList);
