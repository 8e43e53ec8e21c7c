// <terminal-console>: the page. It places the parts, carries out commands, and keeps the keyboard where it belongs.
import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import type { TerminalSession } from "../element/index.ts";
import type { About, Act } from "./act.ts";
import { Api } from "./api.ts";
import type { ConsoleAsk, Question } from "./ask.ts";
import { VIEW_NAMES } from "./bar.ts";
import type { Host } from "./command.ts";
import { canRun, choicesFor, commandNamed, shortcutsFor } from "./commands.ts";
import { type How, openSession } from "./commands_open.ts";
import { consoleStyles } from "./console_styles.ts";
import { controls } from "./controls.ts";
import type { CreateSession } from "./create_dialog.ts";
import { Desk, pagePlace } from "./desk.ts";
import type { ConsoleDrawer } from "./drawer.ts";
import type { EndSession } from "./end_dialog.ts";
import { guessFit } from "./guess_fit.ts";
import type { ShortcutsHelp } from "./help.ts";
import type { KeyBar } from "./keybar.ts";
import { watchKeys } from "./keyboard.ts";
import type { Pane } from "./layout.ts";
import type { ConsoleMenu } from "./menu.ts";
import type { ConsoleNotices, Notice } from "./notices.ts";
import type { CommandPalette } from "./palette.ts";
import { paneMenu, switchMenu } from "./pane_menu.ts";
import { PaneStates } from "./pane_states.ts";
import { Phone } from "./phone.ts";
import { Preferences, pageStorage } from "./preferences.ts";
import { ApiProblem, explain } from "./problem.ts";
import { Roster } from "./roster.ts";
import { programOf, type Session } from "./session.ts";
import type { ConsoleTerminals } from "./terminals.ts";
import { Theme } from "./theme.ts";
import { allPanes, focusedPane, panesInFront } from "./workspace.ts";

const PRODUCT = "Terminal Service";

export class TerminalConsole extends LitElement implements Host {
  static override styles = [controls, consoleStyles];
  readonly api = new Api();
  readonly desk = new Desk(pagePlace());
  readonly roster = new Roster(this.api);
  readonly states = new PaneStates();
  readonly preferences = new Preferences(pageStorage());
  readonly theme = new Theme(this.preferences);
  readonly #phone = new Phone(this);
  #isStarting = false;
  /** The view with its charts, fetched for who looks at them. */
  #metrics: Promise<unknown> | null = null;
  #ignoreKeys = () => {};

  constructor() {
    super();
    this.addEventListener("act", (event) => this.#onAct(event as CustomEvent<Act>));
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#ignoreKeys = watchKeys(this);
    this.desk.addEventListener("change", this.#onChange);
    this.desk.addEventListener("move", this.#onMove);
    this.roster.addEventListener("change", this.#onChange);
    document.addEventListener("theme-changed", this.#onChange);
    for (const name of ["sign-in-needed", "signed-in", "signed-out"]) this.api.addEventListener(name, this.#onChange);
    this.api.addEventListener("signed-in", this.#onSignedIn);
    window.addEventListener("pagehide", this.#onHide);
    window.addEventListener("vite:preloadError", this.#onLost);
    this.roster.start();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#ignoreKeys();
    this.desk.removeEventListener("change", this.#onChange);
    this.desk.removeEventListener("move", this.#onMove);
    this.roster.removeEventListener("change", this.#onChange);
    document.removeEventListener("theme-changed", this.#onChange);
    for (const name of ["sign-in-needed", "signed-in", "signed-out"])
      this.api.removeEventListener(name, this.#onChange);
    this.api.removeEventListener("signed-in", this.#onSignedIn);
    window.removeEventListener("pagehide", this.#onHide);
    window.removeEventListener("vite:preloadError", this.#onLost);
    this.roster.stop();
  }

  // -- what is drawn

  override render(): TemplateResult {
    const { space } = this.desk;
    const { isNarrow } = this.#phone;
    return html`
      <button type="button" class="skip" @click=${this.focusTerminal}>Skip to the terminal</button>
      ${isNarrow && this.#phone.hasKeyboard ? nothing : this.#bar()}
      <div class="body" @open-session=${this.#onOpen} @new-session=${() => this.carryOut("new")}
        @sessions-changed=${this.#onSessions}>
        ${this.#sidebar()}
        <main>
          <console-terminals
            ?hidden=${space.view !== "terminals"}
            .host=${this}
            .space=${space}
            .look=${{ theme: this.theme.look, fontSize: this.preferences.fontSize }}
            .isNarrow=${isNarrow}
            @terminal-input=${() => this.#part<KeyBar>("key-bar")?.taken()}
          ></console-terminals>
          ${this.#view()}
          ${this.#keyBar()}
          <console-menu></console-menu>
        </main>
      </div>
      ${this.#dialogs()}
    `;
  }

  #bar(): TemplateResult {
    const { isNarrow } = this.#phone;
    return html`<console-bar
      .view=${this.desk.space.view}
      .choice=${this.theme.choice}
      .pulse=${this.roster.pulse}
      .isNarrow=${isNarrow}
      .isSignedIn=${this.api.isSignedIn}
      .isDrawerOpen=${isNarrow ? (this.#part<ConsoleDrawer>("console-drawer")?.isOpen ?? false) : this.#hasSidebar}
    ></console-bar>`;
  }

  /** Nothing is listed beside the welcome while there is nothing to list. */
  get #hasSidebar(): boolean {
    const isEmpty = this.desk.space.tabs.length === 0 && this.roster.sessions.length === 0;
    return this.preferences.sidebar && this.desk.space.view === "terminals" && !this.#phone.isNarrow && !isEmpty;
  }

  #sidebar(): TemplateResult | typeof nothing {
    if (!this.#hasSidebar) return nothing;
    return html`<aside aria-label="Sessions" @keydown=${this.#onAsideKey}>${this.#list()}</aside>`;
  }

  #list(): TemplateResult {
    return html`<session-list .api=${this.api} .current=${this.#current}></session-list>`;
  }

  get #current(): string[] {
    return panesInFront(this.desk.space).map(({ session }) => session);
  }

  #view(): TemplateResult | typeof nothing {
    const { view } = this.desk.space;
    if (view === "terminals") return nothing;
    const page = {
      sessions: () => this.#list(),
      metrics: () => html`<metrics-view .api=${this.api}></metrics-view>`,
      health: () => html`<health-view .api=${this.api}></health-view>`,
    }[view];
    return html`<div class="page">${page()}</div>`;
  }

  #keyBar(): TemplateResult | typeof nothing {
    const { isNarrow, isTouched } = this.#phone;
    const front = focusedPane(this.desk.space);
    if (!(isNarrow || isTouched) || this.desk.space.view !== "terminals" || !front || front.readOnly) return nothing;
    return html`<key-bar .terminal=${this.terminal(front.key)} @paste-wanted=${() => this.carryOut("paste")}></key-bar>`;
  }

  #dialogs(): TemplateResult {
    const { api } = this;
    return html`<div class="over" @open-session=${this.#onOpen} @new-session=${() => this.carryOut("new")}
      @sessions-changed=${this.#onSessions} @session-created=${this.#onCreated}>
      ${
        this.#phone.isNarrow
          ? html`<console-drawer
              .api=${api}
              .current=${this.#current}
              .view=${this.desk.space.view}
              .choice=${this.theme.choice}
              .pulse=${this.roster.pulse}
            ></console-drawer>`
          : nothing
      }
      <command-palette></command-palette>
      <shortcuts-help></shortcuts-help>
      <console-ask></console-ask>
      <end-session></end-session>
      <create-session .api=${api}></create-session>
      <sign-in .api=${api}></sign-in>
      <console-notices></console-notices>
    </div>`;
  }

  override firstUpdated(): void {
    if (!this.#phone.isTouched) this.focusTerminal();
  }

  override updated(_changed: PropertyValues): void {
    const { space } = this.desk;
    if (space.view === "metrics")
      this.#metrics ??= import("./metrics_view.ts").catch(() => null); // `#onLost` tells
    else this.#metrics = null; // what failed is tried again when somebody comes back
    const front = focusedPane(space);
    const what = space.view === "terminals" && front ? this.nameOf(front) : VIEW_NAMES[space.view];
    const title = space.view === "terminals" && !front ? PRODUCT : `${what} · ${PRODUCT}`;
    if (document.title !== title) document.title = title;
  }

  // -- what commands use

  get isStarting(): boolean {
    return this.#isStarting;
  }

  set isStarting(isStarting: boolean) {
    this.#isStarting = isStarting;
    this.restyle();
  }

  get isSidebarShown(): boolean {
    return this.#phone.isNarrow
      ? (this.#part<ConsoleDrawer>("console-drawer")?.isOpen ?? false)
      : this.preferences.sidebar;
  }

  set isSidebarShown(isShown: boolean) {
    const drawer = this.#part<ConsoleDrawer>("console-drawer");
    if (drawer) isShown ? void drawer.open() : drawer.close();
    else this.preferences.sidebar = isShown;
    this.requestUpdate();
  }

  nameOf(pane: Pane): string {
    const session = this.roster.get(pane.session);
    const { title } = this.states.of(pane.key);
    return session?.name || title || (session ? programOf(session) : pane.session.slice(0, 8));
  }

  terminal(key: string): TerminalSession | null {
    return this.#terminals?.pane(key)?.terminal ?? null;
  }

  carryOut(name: string, about: About = {}): void {
    const command = commandNamed(name);
    if (!canRun(command, this, about)) return;
    void this.#try(async () => command.run(this, about));
  }

  async ask(question: Question): Promise<string | null> {
    return (await this.#part<ConsoleAsk>("console-ask")?.ask(question)) ?? null;
  }

  async askToEnd(session: Session): Promise<boolean> {
    return (await this.#part<EndSession>("end-session")?.ask(session)) ?? false;
  }

  show(notice: Notice): void {
    this.#part<ConsoleNotices>("console-notices")?.show(notice);
  }

  say(text: string): void {
    this.#part<ConsoleNotices>("console-notices")?.say(text);
  }

  focusTerminal(): void {
    if (this.desk.space.view === "terminals") this.#terminals?.focusFront();
  }

  zoom(key: string): void {
    const terminals = this.#terminals;
    if (terminals) terminals.zoomed = terminals.zoomed === key ? null : key;
  }

  /** To the list of sessions, and from there back to the terminal. */
  async focusList(): Promise<void> {
    const list = () => this.renderRoot.querySelector<LitElement>("aside session-list, .page session-list");
    if (list()?.matches(":focus-within")) {
      this.focusTerminal();
      return;
    }
    if (!list()) this.isSidebarShown = true;
    await this.updateComplete;
    await list()?.updateComplete;
    list()?.focus();
  }

  openPalette(): void {
    this.#part<CommandPalette>("command-palette")?.open(choicesFor(this));
  }

  openHelp(): void {
    this.#part<ShortcutsHelp>("shortcuts-help")?.open(shortcutsFor(this));
  }

  openCreate(): void {
    const form = this.#part<CreateSession>("create-session");
    const area = this.#terminals?.getBoundingClientRect();
    if (form) form.fit = area ? guessFit(area, this.preferences.fontSize) : null;
    void form?.show();
  }

  openPaneMenu(pane: Pane): void {
    this.#openMenu(pane, ".menu", "Terminal", paneMenu(this, pane, this.#phone.isNarrow));
  }

  openSwitch(pane: Pane): void {
    this.#openMenu(pane, ".switch", "Open terminals", switchMenu(this, pane));
  }

  openFind(pane: Pane): void {
    this.terminal(pane.key)?.openFind();
  }

  restyle(): void {
    this.requestUpdate();
    this.#terminals?.requestUpdate();
  }

  // -- what is heard

  readonly #onChange = (): void => this.restyle();

  /** Going back may take away what had the keyboard; a phone's would come up unasked. */
  readonly #onMove = (): void => {
    const isFree = document.activeElement === document.body || this.#terminals?.matches(":focus-within");
    if (isFree && !this.#phone.isTouched) this.focusTerminal();
  };

  /** Terminals that were refused for want of a key may be let in now. */
  readonly #onSignedIn = (): void => {
    for (const { key } of allPanes(this.desk.space)) {
      if (this.states.of(key).state === "refused") this.terminal(key)?.reconnect();
    }
  };

  /** A part of the page that is fetched when it is wanted cannot be. */
  readonly #onLost = (): void => {
    if (this.roster.pulse.tone === "bad") {
      this.show({ text: "A part of this page cannot be fetched while the service is away.", bad: true });
      return;
    }
    const text = "The service was updated since this page was opened. Terminals stay when it is reloaded.";
    this.show({ text, bad: true, offer: { label: "Reload", run: () => location.reload() } });
  };

  readonly #onHide = (): void => this.desk.settle();

  #onAct(event: CustomEvent<Act>): void {
    const { command, ...about } = event.detail;
    this.carryOut(command, about);
  }

  #onOpen(event: CustomEvent<{ sessionId: string; how: How }>): void {
    openSession(this, event.detail.sessionId, event.detail.how);
  }

  async #onCreated(event: CustomEvent<{ sessionId: string }>): Promise<void> {
    openSession(this, event.detail.sessionId, "tab");
    await this.roster.refresh();
  }

  #onSessions(event: CustomEvent<{ sessions: readonly Session[] }>): void {
    this.roster.take(event.detail.sessions);
  }

  #onAsideKey(event: KeyboardEvent): void {
    if (event.key === "Escape" && !event.defaultPrevented) this.focusTerminal();
  }

  // -- within

  async #try(task: () => Promise<unknown>): Promise<void> {
    try {
      await task();
    } catch (error) {
      if (error instanceof ApiProblem && error.status === 401) return; // the form for signing in says it
      this.show({ text: explain(error), bad: true });
    }
  }

  #openMenu(pane: Pane, button: string, label: string, items: ReturnType<typeof paneMenu>): void {
    const anchor = this.#terminals?.pane(pane.key)?.renderRoot.querySelector<HTMLElement>(`header button${button}`);
    if (anchor) void this.#part<ConsoleMenu>("console-menu")?.open(anchor, label, items);
  }

  get #terminals(): ConsoleTerminals | null {
    return this.#part("console-terminals");
  }

  #part<Part extends Element>(name: string): Part | null {
    return this.renderRoot?.querySelector<Part>(name) ?? null;
  }
}

customElements.define("terminal-console", TerminalConsole);
