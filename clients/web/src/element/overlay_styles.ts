// How what lies over and below the terminal looks: find bar, tip, dialogs, banners, status bar.
import { css } from "lit";

export const overlayStyles = css`
  .find {
    align-items: center;
    background: color-mix(in srgb, var(--_bg) 88%, var(--_fg));
    border: 1px solid var(--_line);
    border-radius: 0 0 6px 6px;
    box-shadow: 0 4px 18px rgb(0 0 0 / 35%);
    display: flex;
    gap: 4px;
    max-width: calc(100% - 40px);
    padding: 5px;
    position: absolute;
    right: 20px;
    top: 0;
    z-index: 22;
  }

  .find-text {
    background: var(--_bg);
    border: 1px solid var(--_line);
    border-radius: 5px;
    color: var(--_fg);
    font: inherit;
    min-height: 24px;
    min-width: 4rem;
    padding: 0 0.5em;
    width: 14rem;
  }

  .count {
    color: var(--_quiet);
    flex: 0 1 auto;
    min-width: 5.5em;
    overflow: hidden;
    text-align: end;
    text-overflow: ellipsis;
    white-space: nowrap;
  }

  .tip {
    background: color-mix(in srgb, var(--_bg) 88%, var(--_fg));
    border: 1px solid var(--_line);
    border-radius: 5px;
    box-shadow: 0 4px 18px rgb(0 0 0 / 35%);
    max-width: min(36rem, calc(100% - 24px));
    overflow-wrap: anywhere;
    padding: 0.3em 0.7em;
    pointer-events: none;
    position: absolute;
    z-index: 23;
  }

  .tip .more {
    color: var(--_quiet);
    display: block;
    font-size: 0.75rem;
  }

  .tip strong.bad {
    color: color-mix(in srgb, var(--_error) 60%, var(--_fg));
  }

  dialog.ask {
    background: var(--_bg);
    border: 1px solid var(--_line);
    border-radius: 10px;
    box-shadow: 0 12px 48px rgb(0 0 0 / 50%);
    box-sizing: border-box;
    color: var(--_fg);
    max-width: min(40rem, calc(100vw - 24px));
    padding: 1.1rem 1.3rem;
    width: 100%;
  }

  dialog.ask::backdrop {
    background: rgb(0 0 0 / 45%);
  }

  dialog h2 {
    font-size: 1rem;
    margin: 0 0 0.4em;
    overflow-wrap: anywhere;
  }

  dialog p {
    margin: 0 0 0.7em;
    overflow-wrap: anywhere;
  }

  dialog .preview {
    background: var(--_soft);
    border: 1px solid var(--_line);
    border-radius: 6px;
    font: 0.8125rem / 1.45 ui-monospace, Menlo, Consolas, monospace;
    margin: 0 0 0.9em;
    max-height: 14rem;
    overflow: auto;
    overflow-wrap: anywhere;
    padding: 0.6em 0.8em;
    white-space: pre-wrap;
  }

  .choices {
    display: flex;
    flex-wrap: wrap;
    gap: 0.5em;
  }
`;

export const bannerStyles = css`
  .banners {
    align-items: center;
    display: flex;
    flex-direction: column;
    gap: 6px;
    inset-block-start: 10px;
    inset-inline: 10px;
    pointer-events: none;
    position: absolute;
    z-index: 20;
  }

  .banner {
    align-items: center;
    background: color-mix(in srgb, var(--_bg) 88%, var(--_fg));
    border: 1px solid var(--_line);
    border-inline-start: 4px solid var(--_kind, var(--_accent));
    border-radius: 6px;
    box-shadow: 0 4px 18px rgb(0 0 0 / 35%);
    box-sizing: border-box;
    display: flex;
    flex-wrap: wrap;
    gap: 0.3em 0.9em;
    max-width: 100%;
    overflow-wrap: anywhere;
    padding: 0.45em 0.8em;
    pointer-events: auto;
  }

  .banner:has(> .close) {
    flex-wrap: nowrap; /* words are broken before the button goes below them */
  }

  .banner.warning {
    --_kind: var(--_warn);
  }

  .banner.error {
    --_kind: var(--_error);
  }

  .banner .more {
    color: var(--_quiet);
  }

  .banner.patient {
    animation: appear 0.2s 0.8s both;
  }

  .banner progress {
    accent-color: var(--_accent);
    flex: 1 1 8em;
  }

  .passing {
    animation: pass 5s both;
  }

  @keyframes appear {
    from {
      opacity: 0;
      visibility: hidden;
    }
  }

  @keyframes pass {
    85% {
      opacity: 1;
    }
    to {
      opacity: 0;
      visibility: hidden;
    }
  }

  @media (prefers-reduced-motion: reduce) {
    .banner.patient {
      animation-timing-function: step-end;
    }
  }
`;

export const statusStyles = css`
  .status {
    align-items: center;
    background: var(--_soft);
    border-top: 1px solid var(--_line);
    color: var(--_quiet);
    display: flex;
    flex: none;
    font-size: 0.75rem;
    gap: 0.9em;
    height: 24px;
    overflow: hidden;
    padding: 0 8px;
    white-space: nowrap;
  }

  .status .grow {
    flex: 1;
    min-width: 0;
    overflow: hidden;
    text-overflow: ellipsis;
  }

  .status .state::before {
    background: var(--_dot, var(--_quiet));
    border-radius: 50%;
    content: "";
    display: inline-block;
    height: 8px;
    margin-inline-end: 0.5em;
    width: 8px;
  }

  .status .open {
    --_dot: #22a55b;
  }

  .status .waiting,
  .status .connecting {
    --_dot: var(--_warn);
  }

  .status .refused {
    --_dot: var(--_error);
  }

  .people {
    display: flex;
    list-style: none;
    margin: 0;
    padding: 0;
  }

  .person {
    align-items: center;
    border: 1.5px solid var(--_bg);
    border-radius: 50%;
    color: #fff;
    display: inline-flex;
    font-size: 0.625rem;
    font-weight: 600;
    height: 18px;
    justify-content: center;
    margin-inline-start: -4px;
    width: 18px;
  }

  .person.answers {
    outline: 1.5px solid var(--_fg);
    outline-offset: -1px;
  }

  .person.looks {
    border-style: dashed;
    font-weight: 400;
  }

  .badge {
    border: 1px solid var(--_line);
    border-radius: 4px;
    padding: 0 0.4em;
  }

  @container (max-width: 34rem) {
    .optional {
      display: none;
    }
  }
`;
