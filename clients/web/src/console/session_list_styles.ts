// How the list of sessions looks: two lines a session where it is narrow, columns where there is room.
import { css } from "lit";

export const listStyles = css`
  :host {
    display: flex;
    flex-direction: column;
    min-height: 0;
    height: 100%;
    container-type: inline-size;
    background: var(--surface);
  }
  .bar {
    display: flex;
    gap: 6px;
    padding: 10px 12px 8px;
  }
  .search {
    position: relative;
    flex: 1 1 50%;
    min-width: 0;
  }
  .search svg {
    position: absolute;
    inset-block-start: calc(50% - 8px);
    inset-inline-start: 9px;
    color: var(--muted);
    pointer-events: none;
  }
  .search input {
    width: 100%;
    padding-inline-start: 32px;
  }
  select {
    flex: 0 1 auto;
    min-width: 0;
    max-width: 48%;
  }
  .rows {
    flex: 1;
    min-height: 0;
    overflow-y: auto;
    overscroll-behavior: contain;
    border-top: 1px solid var(--line);
    scrollbar-width: thin;
  }
  .row {
    display: grid;
    grid-template:
      "main life tools" auto "output viewers tools" auto "sub sub tools" auto "because because tools" auto /
      minmax(0, 1fr) auto auto;
    gap: 1px 8px;
    padding: 8px 4px 8px 12px;
    border-bottom: 1px solid var(--line);
    content-visibility: auto; /* times tick in every row; those out of sight need no layout */
    contain-intrinsic-block-size: auto 76px;
    cursor: pointer;
  }
  .row:hover {
    background: var(--hover);
  }
  .row:focus-visible {
    outline-offset: -2px;
  }
  .row.open {
    background: var(--accent-soft);
  }
  .row.busy {
    opacity: 0.6;
  }
  .main,
  .sub {
    display: flex;
    align-items: center;
    gap: 7px;
    min-width: 0;
  }
  .main {
    grid-area: main;
  }
  .sub {
    grid-area: sub;
  }
  .sub,
  .output {
    margin-inline-start: 16px;
  }
  .output {
    grid-area: output;
    display: flex;
    align-items: center;
    min-width: 0;
  }
  .viewers {
    grid-area: viewers;
    justify-self: end;
  }
  .life {
    grid-area: life;
    justify-self: end;
  }
  .because {
    grid-area: because;
    align-self: center;
    margin-inline-start: 16px;
    font-size: 12px;
  }
  .sub:not(.labelled) {
    display: none; /* there is no room for everything */
  }
  .tools {
    grid-area: tools;
    align-self: center;
  }
  .about {
    grid-area: about;
    display: none;
    font-size: 12px;
  }
  .program {
    flex: 0 10 auto;
    font-size: 12px;
  }
  .name,
  .program,
  .line,
  .because,
  .about {
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .name {
    font-weight: 600;
  }
  .program,
  .because,
  .about,
  .line,
  .none {
    color: var(--muted);
  }
  .line {
    font: 12px / 1.5 var(--mono);
    white-space: pre;
  }
  .line.none {
    font-family: var(--font);
  }
  .row.over .name {
    color: var(--muted);
    font-weight: 500;
  }
  .fact {
    display: inline-flex;
    align-items: center;
    gap: 4px;
    font-size: 12px;
    font-variant-numeric: tabular-nums;
    white-space: nowrap;
  }
  .fact svg {
    width: 14px;
    height: 14px;
    color: var(--muted);
  }
  .soon,
  .soon svg {
    color: var(--warn);
    font-weight: 600;
  }
  .mark {
    flex: none;
    width: 9px;
    height: 9px;
    border-radius: 50%;
    background: var(--warn);
  }
  .mark.running {
    background: var(--good);
  }
  .mark.ended {
    border: 2px solid var(--line-strong);
    background: none;
  }
  .mark.error,
  .mark.lost {
    background: var(--bad);
  }
  .badge {
    padding: 0 6px;
    border-radius: 9px;
    background: var(--warn-soft);
    color: var(--warn);
    font-size: 12px;
    font-weight: 600;
  }
  .badge.error,
  .badge.lost {
    background: var(--bad-soft);
    color: var(--bad);
  }
  .chips {
    display: flex;
    gap: 4px;
    min-width: 0;
    overflow: hidden;
  }
  .chip {
    flex: 0 1 auto;
    min-width: 24px;
    min-height: 20px;
    padding: 0 7px;
    border: 0;
    border-radius: 10px;
    background: var(--accent-soft);
    font-size: 12px;
    font-weight: 400;
  }
  .chip bdi {
    overflow: hidden;
    text-overflow: ellipsis;
  }
  input.rename {
    flex: 1;
    min-width: 0;
    min-height: 28px;
  }
  .row + .details {
    border-bottom: 1px solid var(--line);
    background: var(--ground);
  }
  .foot {
    padding: 6px 12px;
    border-top: 1px solid var(--line);
    color: var(--muted);
    font-size: 12px;
  }
  .rest {
    margin: 12px;
  }
  @container (min-width: 640px) {
    .row {
      grid-template:
        "main output viewers life tools" auto
        "sub about viewers because tools" auto / minmax(0, 1fr) minmax(0, 1.2fr) 3.2em minmax(9em, 28cqi) auto;
      gap: 1px 16px;
    }
    .output,
    .because {
      margin-inline-start: 0;
    }
    .because {
      text-align: end;
    }
    .sub:not(.labelled) {
      display: flex;
    }
    .viewers {
      align-self: center;
    }
    .about {
      display: block;
    }
    .about span + span {
      margin-inline-start: 12px;
    }
  }
  @media (forced-colors: active) {
    .mark.running {
      background: CanvasText;
    }
    .row:hover {
      outline: 1px solid Highlight;
      outline-offset: -1px;
    }
  }
`;
