// How dialogs with a form look; on a phone they are the whole screen.
import { css } from "lit";

export const formStyles = css`
  dialog {
    width: min(520px, calc(100vw - 32px));
    max-height: calc(100dvh - 32px);
    overflow: hidden;
  }
  dialog[open] {
    display: flex;
  }
  form {
    display: flex;
    flex-direction: column;
    flex: 1;
    min-width: 0;
    min-height: 0;
  }
  .top,
  .bottom {
    display: flex;
    align-items: center;
    gap: 8px;
    padding: 12px 20px;
  }
  .top {
    justify-content: space-between;
    padding-inline-end: 12px;
    border-bottom: 1px solid var(--line);
  }
  .bottom {
    justify-content: end;
    border-top: 1px solid var(--line);
  }
  h2 {
    margin: 0;
    font-size: 1.15em;
  }
  .body {
    padding: 6px 20px 16px;
    overflow-y: auto;
    overscroll-behavior: contain;
  }
  .field {
    display: grid;
    grid-template-columns: 10em minmax(0, 1fr);
    align-items: center;
    gap: 4px 12px;
    margin-top: 10px;
  }
  .field > :not(label, .label) {
    grid-column: 2;
  }
  .size {
    display: flex;
    align-items: center;
    gap: 8px;
  }
  .wide {
    align-items: start;
  }
  .wide .label {
    padding-top: 6px;
  }
  input:not([type="checkbox"]),
  select,
  textarea {
    width: 100%;
    min-width: 0;
  }
  textarea {
    font-family: var(--mono);
    font-size: 13px;
    resize: vertical;
  }
  code {
    padding: 0 4px;
    border-radius: 3px;
    background: var(--hover);
    font: 12px / 1.5 var(--mono);
    overflow-wrap: anywhere;
  }
  .hint,
  .error {
    margin: 0;
    font-size: 12.5px;
    color: var(--muted);
    overflow-wrap: anywhere;
  }
  .error {
    color: var(--bad);
  }
  [aria-invalid="true"] {
    border-color: var(--bad);
  }
  .trouble {
    margin: 10px 0 0;
    padding: 8px 12px;
    border-radius: var(--radius-small);
    background: var(--bad-soft);
    overflow-wrap: anywhere;
  }
  details {
    margin-top: 14px;
  }
  summary {
    width: fit-content;
    padding: 4px 0;
    color: var(--accent);
    cursor: pointer;
  }
  .check {
    display: flex;
    align-items: center;
    gap: 8px;
    margin-top: 10px;
    min-height: var(--control);
  }
  .check input {
    min-height: 0;
    width: 18px;
    height: 18px;
    margin: 0;
    accent-color: var(--accent-fill);
  }
  @media (max-width: 640px) {
    dialog {
      width: 100vw;
      max-width: none;
      height: 100dvh;
      max-height: none;
      border: 0;
      border-radius: 0;
    }
    .body {
      flex: 1;
    }
    .field {
      grid-template-columns: minmax(0, 1fr);
    }
    .field > :not(label, .label) {
      grid-column: 1;
    }
    textarea {
      font-size: 16px;
    }
  }
`;
