// What a page without terminals shows: one thing to do, for who has never been here.
import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { act } from "./act.ts";
import { controls } from "./controls.ts";
import { sign } from "./signs.ts";

export class ConsoleWelcome extends LitElement {
  static override properties = { living: { type: Number }, isBusy: { type: Boolean } };
  static override styles = [
    controls,
    css`
      :host {
        display: grid;
        place-items: center;
        height: 100%;
        padding: 24px;
        overflow: auto;
        background: var(--surface);
        text-align: center;
      }
      .all {
        display: grid;
        justify-items: center;
        gap: 14px;
        max-width: 420px;
      }
      .screen {
        display: grid;
        place-items: center;
        width: 76px;
        height: 76px;
        margin-bottom: 4px;
        border-radius: 20px;
        background: var(--accent-soft);
        color: var(--accent);
      }
      .screen svg.sign {
        width: 40px;
        height: 40px;
        stroke-width: 1.1;
      }
      h2 {
        margin: 0;
        font-size: 24px;
        line-height: 1.25;
        letter-spacing: -0.02em;
      }
      p {
        margin: 0;
        color: var(--muted);
        text-wrap: balance;
      }
      .start {
        min-height: 48px;
        margin-top: 8px;
        padding: 0 26px;
        border-radius: var(--radius);
        font-size: 16px;
      }
      .other {
        display: flex;
        flex-wrap: wrap;
        justify-content: center;
        gap: 4px;
      }
      .other button {
        color: var(--accent);
      }
    `,
  ];
  declare living: number;
  declare isBusy: boolean;

  override render(): TemplateResult {
    const sessions = this.living === 1 ? "1 session is running" : `${this.living} sessions are running`;
    return html`<div class="all">
      <span class="screen" aria-hidden="true">${sign("terminal")}</span>
      <h2>A terminal that stays</h2>
      <p>Close the page, lose the network, come back later: it goes on where you left it.</p>
      <button type="button" class="primary start" aria-disabled=${this.isBusy} @click=${this.#onStart}>
        ${this.isBusy ? "Starting…" : "Start a terminal"}
      </button>
      <div class="other">
        <button type="button" class="plain" @click=${() => act(this, "new-options")}>With options…</button>
        ${
          this.living > 0
            ? html`<button type="button" class="plain" @click=${() => act(this, "view-sessions")}>${sessions}</button>`
            : nothing
        }
      </div>
    </div>`;
  }

  /** Give the keyboard to the one thing to do. */
  override focus(): void {
    this.renderRoot.querySelector<HTMLElement>(".start")?.focus();
  }

  #onStart(): void {
    if (!this.isBusy) act(this, "new");
  }
}

customElements.define("console-welcome", ConsoleWelcome);
