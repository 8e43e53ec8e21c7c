// How the page is divided.
import { css } from "lit";

export const consoleStyles = css`
  :host {
    position: fixed;
    inset: 0 0 auto;
    display: flex;
    flex-direction: column;
    height: 100dvh;
    background: var(--ground);
  }
  .skip {
    position: absolute;
    z-index: 30;
    inset: 6px auto auto 6px;
  }
  .skip:not(:focus) {
    width: 1px;
    min-height: 0;
    height: 1px;
    padding: 0;
    border: 0;
    overflow: hidden;
    clip-path: inset(50%);
  }
  .body {
    display: flex;
    flex: 1;
    min-height: 0;
  }
  aside {
    display: flex;
    flex: none;
    flex-direction: column;
    width: clamp(240px, 24vw, 330px);
    min-height: 0;
    overflow: auto;
    border-inline-end: 1px solid var(--line);
    background: var(--surface);
  }
  main {
    position: relative;
    display: flex;
    flex-direction: column;
    flex: 1;
    min-width: 0;
    min-height: 0;
  }
  console-terminals,
  .page {
    flex: 1;
    min-height: 0;
  }
  .page {
    overflow: auto;
    background: var(--surface);
  }
  .page > * {
    max-width: 1240px;
    margin-inline: auto;
  }
`;
