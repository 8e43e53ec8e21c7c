// How notes look in every view, and what is there for ears only.
import { css } from "lit";

export const noteStyles = css`
  .unseen {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  .note {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 4px 10px;
    margin: 0 12px 8px;
    padding: 8px 10px;
    border-radius: var(--radius-small);
    background: var(--warn-soft);
    color: var(--text);
    overflow-wrap: anywhere;
  }
  .note.bad {
    background: var(--bad-soft);
  }
  .note > span {
    flex: 1 1 160px;
  }
  .note button {
    min-height: 28px;
  }
  .empty {
    display: flex;
    flex-direction: column;
    align-items: center;
    gap: 12px;
    margin: auto;
    padding: 24px 20px;
    max-width: 360px;
    color: var(--muted);
    text-align: center;
  }
  .empty h2 {
    margin: 0;
    color: var(--text);
    font-size: 1.1em;
  }
  .empty p {
    margin: 0;
    overflow-wrap: anywhere;
  }
`;
