// The view of terminals: tabs, panes and the lines between them, or the welcome where there are none.
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { activeElement } from "./act.ts";
import type { Host } from "./command.ts";
import { controls } from "./controls.ts";
import type { Moved } from "./divider.ts";
import { dividersOf, type Pane, panesOf, type Rect, rectsOf, resize } from "./layout.ts";
import type { ConsolePane, PaneLook } from "./pane.ts";
import { toneOf, wordsFor } from "./pane_states.ts";
import type { TabLabel } from "./tabs.ts";
import { activeTab, allPanes, changeTab, focusedPane, focusPane, type Workspace } from "./workspace.ts";

const WHOLE: Rect = { x: 0, y: 0, width: 1, height: 1 };

/**
 * Panes lie in one flat layer and are moved by style alone: splitting, closing and going back never make a terminal
 * anew. A pane is first made when its tab is first shown.
 */
export class ConsoleTerminals extends LitElement {
  static override properties = {
    host: { attribute: false },
    space: { attribute: false },
    look: { attribute: false },
    isNarrow: { type: Boolean },
    zoomed: { state: true },
  };
  static override styles = [
    controls,
    css`
      :host {
        display: flex;
        flex-direction: column;
      }
      .desk {
        position: relative;
        flex: 1;
        min-height: 0;
        background: var(--ground);
      }
      console-tabs[data-alone] {
        padding-inline-end: 236px; /* the header of a pane that is alone lies there */
      }
    `,
  ];
  declare host: Host;
  declare space: Workspace;
  declare look: PaneLook;
  declare isNarrow: boolean;
  /** The pane that fills its tab for a while; null: none does. */
  declare zoomed: string | null;
  readonly #made = new Set<string>();
  /** What had the keyboard when it was wanted for the pane in front; null: it is not wanted. */
  #focusedBefore: Element | null = null;

  constructor() {
    super();
    this.zoomed = null;
  }

  /** The pane of a key; null while it is not on the page. */
  pane(key: string): ConsolePane | null {
    return this.renderRoot.querySelector<ConsolePane>(`#${CSS.escape(key)}`);
  }

  /** Give the keyboard to the pane in front, or to the welcome, once it is on the page and can take it. */
  focusFront(): void {
    this.#focusedBefore = activeElement();
    this.requestUpdate();
  }

  override willUpdate(): void {
    const keys = new Set(allPanes(this.space).map(({ key }) => key));
    for (const key of this.#made) if (!keys.has(key)) this.#made.delete(key);
    for (const { key } of this.#shown()) this.#made.add(key);
    if (this.zoomed !== focusedPane(this.space)?.key) this.zoomed = null;
  }

  override render(): TemplateResult {
    const { space, host } = this;
    const tab = activeTab(space);
    if (!tab) {
      return html`<console-welcome .living=${host.roster.living} .isBusy=${host.isStarting}></console-welcome>`;
    }
    const panes = allPanes(space).filter(({ key }) => this.#made.has(key));
    return html`
      ${this.isNarrow ? nothing : html`<console-tabs ?data-alone=${tab.root.kind === "pane"} .tabs=${this.#labels()} .active=${space.active}></console-tabs>`}
      <div
        class="desk"
        role=${this.isNarrow ? nothing : "tabpanel"}
        aria-label=${this.isNarrow ? nothing : "Panes"}
        @divider-moved=${this.#onMove}
      >
        ${repeat(
          panes,
          ({ key }) => key,
          (pane) => this.#pane(pane),
        )}
        ${
          this.#isWhole
            ? nothing
            : repeat(
                dividersOf(tab.root),
                ({ path }) => `${space.active} ${path}`,
                (divider) => html`<pane-divider .divider=${divider}></pane-divider>`,
              )
        }
      </div>
    `;
  }

  override updated(changed: PropertyValues): void {
    if (changed.has("space")) this.host.states.keep(new Set(allPanes(this.space).map(({ key }) => key)));
    if (this.#focusedBefore !== null) void this.#focusNow();
  }

  #pane(pane: Pane): TemplateResult {
    const { space, host, isNarrow } = this;
    const tab = activeTab(space);
    const rects = tab && !this.#isWhole ? rectsOf(tab.root) : new Map([[tab?.focus ?? "", WHOLE]]);
    const isFront = tab?.focus === pane.key;
    return html`<console-pane
      id=${pane.key}
      ?hidden=${!rects.has(pane.key)}
      .pane=${pane}
      .api=${host.api}
      .state=${host.states.of(pane.key)}
      .name=${host.nameOf(pane)}
      .rect=${rects.get(pane.key) ?? WHOLE}
      .look=${this.look}
      .isFocused=${isFront}
      .isAlone=${isNarrow || tab?.root.kind === "pane"}
      .isZoomed=${this.zoomed === pane.key}
      .isNarrow=${isNarrow}
      .others=${allPanes(space).length - 1}
      @focusin=${() => this.#onFocus(pane.key)}
      @terminal-state=${this.#hear}
      @terminal-title=${this.#hear}
      @terminal-bell=${this.#hear}
    ></console-pane>`;
  }

  /** Whether one pane has all the room, though there are others. */
  get #isWhole(): boolean {
    return this.isNarrow || this.zoomed !== null;
  }

  /** What is on the screen now. */
  #shown(): Pane[] {
    const tab = activeTab(this.space);
    if (!tab || this.space.view !== "terminals") return [];
    const panes = panesOf(tab.root);
    return this.#isWhole ? panes.filter(({ key }) => key === tab.focus) : panes;
  }

  #labels(): TabLabel[] {
    return this.space.tabs.map(({ root, focus }, index) => {
      const panes = panesOf(root);
      const front = panes.find(({ key }) => key === focus) ?? panes[0];
      const { state } = this.host.states.of(front?.key ?? "");
      return {
        key: panes[0]?.key ?? String(index),
        name: front ? this.host.nameOf(front) : "",
        title: this.host.states.of(front?.key ?? "").title,
        panes: panes.length,
        ...(front && this.#made.has(front.key)
          ? { tone: toneOf(state), state: wordsFor(state) }
          : this.#fromAfar(front)),
        rang: panes.some(({ key }) => this.host.states.of(key).rang),
      };
    });
  }

  /** What is known of a session that was not connected to yet. */
  #fromAfar(pane: Pane | undefined): Pick<TabLabel, "tone" | "state"> {
    const isLiving = pane !== undefined && this.host.roster.isLiving(pane.session);
    return isLiving ? { tone: "good", state: "running" } : { tone: "off", state: "not connected" };
  }

  #onFocus(key: string): void {
    if (this.space.view === "terminals") this.host.desk.change(focusPane(this.host.desk.space, key));
    if (this.host.states.of(key).rang) {
      this.host.states.change(key, { rang: false });
      this.requestUpdate();
    }
  }

  #onMove(event: CustomEvent<Moved>): void {
    const { path, share } = event.detail;
    const { space } = this.host.desk;
    this.host.desk.change(changeTab(space, space.active, (tab) => ({ ...tab, root: resize(tab.root, path, share) })));
  }

  readonly #hear = (event: CustomEvent<unknown>): void => {
    const { id } = event.currentTarget as ConsolePane;
    if (event.type === "terminal-bell" && this.#shown().some(({ key }) => key === id) && !document.hidden) return;
    const before = this.host.states.of(id).state;
    const news = this.host.states.hear(id, event.type, event.detail);
    const { state } = this.host.states.of(id);
    if (state !== before && (state === "open" || state === "ended")) this.host.api.touched();
    const pane = this.host.desk.pane(id);
    if (news && pane) this.host.say(`${this.host.nameOf(pane)}: ${news}`);
    this.host.restyle();
  };

  /** A terminal takes the keyboard only once it is drawn; who took it meanwhile keeps it. */
  async #focusNow(): Promise<void> {
    const front = focusedPane(this.space);
    const place = front ? this.pane(front.key) : this.renderRoot.querySelector<LitElement>("console-welcome");
    await place?.updateComplete;
    const holder = activeElement();
    const isFree = holder === this.#focusedBefore || holder === document.body;
    if (this.#focusedBefore !== null && isFree) place?.focus();
    if (!isFree || place?.matches(":focus-within")) this.#focusedBefore = null;
  }
}

customElements.define("console-terminals", ConsoleTerminals);
