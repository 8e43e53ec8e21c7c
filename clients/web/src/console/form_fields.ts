// The fields of the console's forms: label, control, hint, and what is wrong with it.
import { html, nothing, type TemplateResult } from "lit";
import "./name_values.ts";
import { sentence } from "./notes.ts";
import type { Pair } from "./wishes.ts";

export type Choice = readonly [value: string, label: string];
type Part = TemplateResult | string | typeof nothing;

/** What all fields have. `name` is the control's id, `error` empty if nothing is wrong. */
export interface Look {
  readonly name: string;
  readonly label: string;
  readonly error: string;
  readonly hint?: Part;
}

/** A control with its label; it must have the look's name for its id and be described by `describedBy`. */
export function field(look: Look, control: TemplateResult): TemplateResult {
  const { name, hint = nothing } = look;
  return html`<div class="field">
    <label for=${name}>${look.label}</label>${control}
    ${hint === nothing ? nothing : html`<p class="hint" id="${name}-hint">${hint}</p>`} ${errorLine(look)}
  </div>`;
}

/** The ids of what describes a field's control. */
export function describedBy(look: Look): string {
  return `${look.name}-hint ${look.name}-error`;
}

/** What is wrong with a field, as a line below it. */
export function errorLine({ name, error }: Look): TemplateResult | typeof nothing {
  return error ? html`<p class="error" id="${name}-error">${sentence(error)}</p>` : nothing;
}

/** One line of text. */
export function textField(
  look: Look,
  value: string,
  {
    limit,
    placeholder,
    change,
    isFirst = false,
  }: { limit: number; placeholder: string; change: (value: string) => void; isFirst?: boolean },
): TemplateResult {
  return field(
    look,
    html`<input
      id=${look.name}
      ?autofocus=${isFirst}
      maxlength=${limit}
      placeholder=${placeholder}
      autocomplete="off"
      spellcheck="false"
      aria-describedby=${describedBy(look)}
      aria-invalid=${wrong(look)}
      .value=${value}
      @input=${(event: Event) => change(valueIn(event))}
    />`,
  );
}

/** One of several; `more` is shown below it. */
export function selectField(
  look: Look,
  value: string,
  {
    choices,
    change,
    more = nothing,
    isFirst = false,
  }: { choices: readonly Choice[]; change: (value: string) => void; more?: Part; isFirst?: boolean },
): TemplateResult {
  return field(
    look,
    html`<select
        id=${look.name}
        ?autofocus=${isFirst}
        aria-describedby=${describedBy(look)}
        aria-invalid=${more === nothing ? wrong(look) : "false"}
        @change=${(event: Event) => change(valueIn(event))}
      >
        ${choices.map(([each, label]) => html`<option value=${each} ?selected=${each === value}>${label}</option>`)}
      </select>
      ${more}`,
  );
}

/** A control of its own beside a select that says "another". */
export function moreInput(
  look: Look,
  value: string,
  { label, placeholder = "", change }: { label: string; placeholder?: string; change: (value: string) => void },
): TemplateResult {
  return html`<input
    aria-label=${label}
    placeholder=${placeholder}
    autocomplete="off"
    aria-describedby=${describedBy(look)}
    aria-invalid=${wrong(look)}
    .value=${value}
    @input=${(event: Event) => change(valueIn(event))}
  />`;
}

/** Rows of names and values; `noun` is what one is, and `masks` says whose values are hidden. */
export function pairsField(
  look: Look,
  pairs: readonly Pair[],
  {
    noun,
    change,
    masks = () => false,
  }: { noun: string; change: (pairs: readonly Pair[]) => void; masks?: (name: string) => boolean },
): TemplateResult {
  return html`<div class="field wide">
    <span class="label">${look.label}</span>
    <name-values
      label=${look.label}
      noun=${noun}
      .masks=${masks}
      .pairs=${pairs}
      ?data-wrong=${look.error !== ""}
      @keydown=${submitOnEnter}
      @pairs-changed=${(event: CustomEvent<{ pairs: readonly Pair[] }>) => change(event.detail.pairs)}
    ></name-values>
    ${errorLine(look)}
  </div>`;
}

/** What to correct: not the choice of writing something else, but what was written there. */
const WRONG = '[aria-invalid="true"]:not(select:has(~ [aria-invalid="true"])), [data-wrong]';

/** Lead the keyboard to the first field that is wrong. */
export function focusWrong(form: ParentNode): void {
  form.querySelector<HTMLElement>(WRONG)?.focus();
}

/** What a control holds after an event of it. */
export function valueIn(event: Event): string {
  return (event.target as HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement).value;
}

/** What the browser does for the inputs of a form, but not for those in a shadow tree within. */
function submitOnEnter(event: KeyboardEvent): void {
  if (event.key !== "Enter" || event.isComposing || !(event.composedPath()[0] instanceof HTMLInputElement)) return;
  event.preventDefault();
  (event.currentTarget as Element).closest("form")?.requestSubmit();
}

function wrong(look: Look): "true" | "false" {
  return look.error ? "true" : "false";
}
