// Short messages at the foot of the page, and the voice for who does not see: only here are live regions written.
import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { act } from "./act.ts";
import { controls } from "./controls.ts";
import { sign } from "./signs.ts";

export interface Notice {
  readonly text: string;
  /** One that is bad stays until it is dismissed. */
  readonly bad?: boolean;
  /** Something that can be done about it. */
  readonly offer?: { readonly label: string; readonly run: () => void };
}

const STAYS_MS = 7000;
/** Older ones make room. */
const SHOWN = 4;

export class ConsoleNotices extends LitElement {
  static override properties = { shown: { state: true }, said: { state: true } };
  static override styles = [
    controls,
    css`
      :host {
        position: fixed;
        inset-inline: 0;
        bottom: calc(34px + env(safe-area-inset-bottom));
        z-index: 20;
        display: grid;
        justify-items: center;
        gap: 8px;
        padding: 0 12px;
        pointer-events: none;
      }
      .notice {
        display: flex;
        align-items: center;
        gap: 12px;
        max-width: min(560px, 100%);
        padding: 5px 6px 5px 14px;
        border: 1px solid var(--line);
        border-inline-start: 4px solid var(--accent);
        border-radius: var(--radius);
        background: var(--raised);
        box-shadow: 0 8px 30px var(--shadow);
        pointer-events: auto;
        animation: rise 160ms ease-out;
      }
      .notice.bad {
        border-inline-start-color: var(--bad);
      }
      .text {
        flex: 1;
        padding: 4px 0;
        overflow-wrap: anywhere;
      }
      .voice {
        position: absolute;
        width: 1px;
        height: 1px;
        overflow: hidden;
        clip-path: inset(50%);
      }
      @keyframes rise {
        from {
          opacity: 0;
          transform: translateY(8px);
        }
      }
      @media (prefers-reduced-motion: reduce) {
        .notice {
          animation: none;
        }
      }
    `,
  ];
  declare shown: readonly Notice[];
  declare said: string;

  constructor() {
    super();
    this.shown = [];
    this.said = "";
  }

  /** Show a message; what is not bad goes by itself, but not while somebody is at it. */
  show(notice: Notice): void {
    this.shown = [...this.shown.filter(({ text }) => text !== notice.text), notice].slice(-SHOWN);
    if (!notice.bad) this.#goLater(notice);
  }

  /** Let a screen reader say something that others can see. */
  say(text: string): void {
    this.said = this.said === text ? `${text}\u00a0` : text; // the same text again would not be a change
  }

  override render(): TemplateResult {
    const [bad, others] = [this.shown.filter((each) => each.bad), this.shown.filter((each) => !each.bad)];
    return html`<div class="voice" role="status">${this.said}</div>
      <div role="alert">${this.#list(bad)}</div>
      <div role="status">${this.#list(others)}</div>`;
  }

  #list(notices: readonly Notice[]) {
    return repeat(
      notices,
      (notice) => notice,
      (notice) => html`<div class="notice ${notice.bad ? "bad" : ""}">
        <span class="text">${notice.text}</span>
        ${notice.offer ? html`<button type="button" class="plain" @click=${() => this.#take(notice)}>${notice.offer.label}</button>` : nothing}
        <button type="button" class="icon" aria-label="Dismiss" title="Dismiss" @click=${() => this.#dismiss(notice)}>
          ${sign("close")}
        </button>
      </div>`,
    );
  }

  #take(notice: Notice): void {
    this.#dismiss(notice);
    notice.offer?.run();
  }

  /** The keyboard goes back to the terminal if it was here. */
  #dismiss(notice: Notice): void {
    const hadFocus = this.matches(":focus-within");
    this.#drop(notice);
    if (hadFocus) act(this, "terminal");
  }

  #drop(notice: Notice): void {
    this.shown = this.shown.filter((each) => each !== notice);
  }

  #goLater(notice: Notice): void {
    setTimeout(() => {
      if (this.matches(":hover, :focus-within")) this.#goLater(notice);
      else this.#drop(notice);
    }, STAYS_MS);
  }
}

customElements.define("console-notices", ConsoleNotices);
