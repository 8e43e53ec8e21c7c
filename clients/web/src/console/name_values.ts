// <name-values>: rows of names and values, as environment variables or labels.
import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { controls } from "./controls.ts";
import { sign } from "./signs.ts";
import type { Pair } from "./wishes.ts";

/** Fires `pairs-changed` {pairs}. `masks` says of a name whether its value is hidden while it is typed. */
export class NameValues extends LitElement {
  static override properties = {
    pairs: { attribute: false },
    masks: { attribute: false },
    label: {},
    noun: {},
    shown: { state: true },
  };
  static override shadowRootOptions: ShadowRootInit = { ...LitElement.shadowRootOptions, delegatesFocus: true };
  static override styles = [
    controls,
    css`
      :host {
        display: block;
      }
      .pair {
        display: grid;
        grid-template-columns: minmax(0, 2fr) minmax(0, 3fr) auto auto;
        gap: 6px;
        margin-bottom: 6px;
      }
      input {
        min-width: 0;
        font-family: var(--mono);
        font-size: 13px;
      }
      input.wide {
        grid-column: span 2;
      }
      @media (max-width: 640px), (pointer: coarse) {
        input {
          font-size: 16px;
        }
      }
    `,
  ];

  declare pairs: readonly Pair[];
  declare masks: (name: string) => boolean;
  /** What the rows are, as "Environment variables". */
  declare label: string;
  /** What one row is, as "variable". */
  declare noun: string;
  /** Rows whose hidden value is shown, by place. */
  declare private shown: ReadonlySet<number>;

  constructor() {
    super();
    this.pairs = [];
    this.masks = () => false;
    this.label = "";
    this.noun = "row";
    this.shown = new Set();
  }

  override render(): TemplateResult {
    return html`<div role="group" aria-label=${this.label}>
      ${this.pairs.map((pair, place) => this.#row(pair, place))}
      <button type="button" @click=${this.#add}>${sign("plus")} Add a ${this.noun}</button>
    </div>`;
  }

  #row(pair: Pair, place: number): TemplateResult {
    const isMasked = this.masks(pair.name);
    const isShown = this.shown.has(place);
    const which = pair.name || `${this.noun} ${place + 1}`;
    return html`<div class="pair">
      ${this.#input(pair, place, "name", `Name of ${this.noun} ${place + 1}`, false)}
      ${this.#input(pair, place, "value", `Value of ${which}`, isMasked && !isShown)}
      ${
        isMasked
          ? html`<button type="button" class="icon" aria-pressed=${isShown} aria-label="Show the value of ${which}"
              title=${isShown ? "Hide" : "Show"} @click=${() => this.#toggle(place)}>${sign("eye")}</button>`
          : nothing
      }
      <button type="button" class="icon" aria-label="Remove ${which}" title="Remove" @click=${() => this.#remove(place)}>
        ${sign("close")}
      </button>
    </div>`;
  }

  #input(pair: Pair, place: number, part: keyof Pair, label: string, isHidden: boolean): TemplateResult {
    return html`<input
      type=${isHidden ? "password" : "text"}
      class=${part === "value" && !this.masks(pair.name) ? "wide" : ""}
      aria-label=${label}
      placeholder=${part === "name" ? "name" : "value"}
      autocomplete="off"
      autocapitalize="off"
      spellcheck="false"
      data-place=${place}
      data-part=${part}
      .value=${pair[part]}
      @input=${(event: Event) => this.#change(place, { ...pair, [part]: (event.target as HTMLInputElement).value })}
    />`;
  }

  readonly #add = (): void => {
    const place = this.pairs.length;
    this.#tell([...this.pairs, { name: "", value: "" }]);
    void this.updateComplete.then(() => this.#focus(place));
  };

  #change(place: number, pair: Pair): void {
    this.#tell(this.pairs.map((each, at) => (at === place ? pair : each)));
  }

  #remove(place: number): void {
    this.shown = new Set([...this.shown].filter((at) => at !== place).map((at) => (at > place ? at - 1 : at)));
    this.#tell(this.pairs.filter((_, at) => at !== place));
    void this.updateComplete.then(() => this.#focus(Math.min(place, this.pairs.length - 1)));
  }

  #toggle(place: number): void {
    const shown = new Set(this.shown);
    if (!shown.delete(place)) shown.add(place);
    this.shown = shown;
  }

  #focus(place: number): void {
    const at = this.renderRoot.querySelector<HTMLElement>(`[data-place="${place}"][data-part="name"]`);
    (at ?? this.renderRoot.querySelector<HTMLElement>("button"))?.focus();
  }

  #tell(pairs: readonly Pair[]): void {
    this.pairs = pairs;
    this.dispatchEvent(new CustomEvent("pairs-changed", { detail: { pairs } }));
  }
}

customElements.define("name-values", NameValues);
