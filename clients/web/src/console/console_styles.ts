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
    flex: 1;
    min-width: 0;
    min-height: 0;
  }
  .page {
    height: 100%;
    overflow: auto;
    background: var(--surface);
  }
  .page > * {
    max-width: 1240px;
    margin-inline: auto;
  }
  .drawer {
    width: min(340px, calc(100vw - 48px));
    height: 100dvh;
    max-height: none;
    margin: 0;
    border: 0;
    border-radius: 0;
    background: var(--surface);
  }
  .drawer[open] {
    display: flex;
    flex-direction: column;
  }
  .drawer header {
    display: flex;
    align-items: center;
    justify-content: space-between;
    min-height: var(--bar);
    padding-inline: 16px 4px;
    padding-top: env(safe-area-inset-top);
    border-bottom: 1px solid var(--line);
  }
  .drawer h2 {
    margin: 0;
    font-size: 16px;
  }
  .drawer nav {
    display: grid;
    padding: 8px;
    border-bottom: 1px solid var(--line);
  }
  .drawer nav button {
    justify-content: flex-start;
    gap: 14px;
    border-color: transparent;
    background: transparent;
  }
  .drawer nav button[aria-current] {
    background: var(--accent-soft);
  }
  .drawer session-list {
    flex: 1;
    min-height: 0;
    overflow: auto;
  }
  .drawer footer {
    display: flex;
    gap: 4px;
    padding: 6px 8px calc(6px + env(safe-area-inset-bottom));
    border-top: 1px solid var(--line);
  }
  .drawer .pulse {
    display: inline-flex;
    align-items: center;
    gap: 10px;
    flex: 1;
    min-width: 0;
    overflow: hidden;
    justify-content: flex-start;
    text-overflow: ellipsis;
  }
  .dot {
    flex: none;
    width: 10px;
    height: 10px;
    border-radius: 50%;
    background: var(--muted);
  }
  .dot.good {
    background: var(--good);
  }
  .dot.warn {
    background: var(--warn);
  }
  .dot.bad {
    background: var(--bad);
  }
`;
