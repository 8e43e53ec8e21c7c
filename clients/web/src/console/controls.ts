// Buttons, fields and dialogs as all parts of the console draw them: add `controls` to a component's styles.
import { css } from "lit";

export const controls = css`
  :host {
    box-sizing: border-box;
    font: 14px / 1.45 var(--font);
    color: var(--text);
  }
  :host([hidden]),
  [hidden] {
    display: none !important;
  }
  *,
  ::before,
  ::after {
    box-sizing: border-box; /* not inherited: the insides of <details> would break the chain */
  }
  :focus-visible {
    outline: 2px solid var(--focus);
    outline-offset: 2px;
  }
  button {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 8px;
    min-height: var(--control);
    padding: 0 12px;
    border: 1px solid var(--line-strong);
    border-radius: var(--radius-small);
    background: var(--raised);
    color: inherit;
    font: inherit;
    font-weight: 500;
    white-space: nowrap;
    cursor: pointer;
    touch-action: manipulation;
    transition:
      background var(--quick),
      border-color var(--quick);
  }
  button:hover {
    background: var(--hover);
  }
  button:active {
    background: var(--pressed);
  }
  button:disabled,
  button[aria-disabled="true"] {
    opacity: 0.55;
    cursor: default;
  }
  button.primary {
    border-color: transparent;
    background: var(--accent-fill);
    color: var(--on-accent);
    font-weight: 600;
  }
  button.primary:hover {
    background: var(--accent-fill-hover);
  }
  button.danger {
    border-color: transparent;
    background: var(--bad-fill);
    color: var(--on-bad);
    font-weight: 600;
  }
  button.plain {
    border-color: transparent;
    background: transparent;
  }
  button.plain:hover {
    background: var(--hover);
  }
  button.icon {
    width: var(--control);
    padding: 0;
    border-color: transparent;
    background: transparent;
    color: var(--muted);
  }
  button.icon:hover {
    background: var(--hover);
    color: var(--text);
  }
  input,
  select,
  textarea {
    min-height: var(--control);
    padding: 4px 10px;
    border: 1px solid var(--line-strong);
    border-radius: var(--radius-small);
    background: var(--raised);
    color: inherit;
    font: inherit;
  }
  input::placeholder {
    color: var(--muted);
    opacity: 1;
  }
  input:focus-visible,
  select:focus-visible,
  textarea:focus-visible {
    outline-offset: -1px;
    border-color: var(--focus);
  }
  kbd {
    padding: 1px 6px;
    border: 1px solid var(--line);
    border-radius: 4px;
    background: var(--surface);
    color: var(--muted);
    font: 12px / 1.4 var(--font);
    white-space: nowrap;
  }
  dialog {
    padding: 0;
    border: 1px solid var(--line);
    border-radius: 12px;
    background: var(--raised);
    color: inherit;
    box-shadow: 0 18px 60px var(--shadow);
  }
  dialog::backdrop {
    background: var(--shade);
  }
  svg.sign {
    flex: none;
    width: 16px;
    height: 16px;
    fill: none;
    stroke: currentColor;
    stroke-width: 1.5;
    stroke-linecap: round;
    stroke-linejoin: round;
  }
  @media (max-width: 640px), (pointer: coarse) {
    input,
    select,
    textarea {
      font-size: 16px; /* smaller ones make phones zoom in */
    }
  }
  @media (forced-colors: active) {
    button.primary,
    button.danger {
      border-color: ButtonText;
    }
  }
`;
