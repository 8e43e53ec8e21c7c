// How the element looks: all colours derive from the terminal's theme and one accent, all sizes from the page's font.
import { css } from "lit";

export const styles = css`
  :host {
    contain: layout paint;
    display: block;
    min-height: 4rem;
    min-width: 8rem;
    position: relative;
  }

  :host([hidden]) {
    display: none;
  }

  /* --_theme-* are set from the terminal's theme. Its text may be pale on purpose; ours is drawn towards black or white. */
  .session {
    --_bg: var(--terminal-background, var(--_theme-background, #14171c));
    --_ink: color-mix(in srgb, var(--_theme-foreground, #d5dae1) 55%, var(--_theme-ink, #fff));
    --_fg: var(--terminal-foreground, var(--_ink));
    --_accent: var(--terminal-accent, #3b82f6);
    --_warn: var(--terminal-warning, #d97706);
    --_error: var(--terminal-error, #dc2626);
    --_line: color-mix(in srgb, var(--_fg) 22%, var(--_bg));
    --_soft: color-mix(in srgb, var(--_fg) 8%, var(--_bg));
    --_quiet: color-mix(in srgb, var(--_fg) 85%, var(--_bg));
    background: var(--_bg);
    color: var(--_fg);
    container-type: inline-size;
    display: flex;
    flex-direction: column;
    font: 400 0.8125rem / 1.4 var(--terminal-ui-font, system-ui, sans-serif);
    inset: 0;
    position: absolute;
    text-align: start;
  }

  .area {
    flex: 1;
    min-height: 0;
    position: relative;
  }

  .frame {
    inset: 0;
    overflow: hidden;
    padding: var(--terminal-padding, 4px);
    position: absolute;
  }

  .screen {
    height: 100%;
    width: 100%;
  }

  .frame.other {
    background-image: repeating-linear-gradient(135deg, var(--_soft) 0 1px, transparent 1px 9px);
    overflow: auto;
    scrollbar-width: thin;
  }

  .frame.other .screen {
    align-content: safe center;
    display: grid;
    justify-content: safe center;
  }

  .frame.other .xterm {
    outline: 1px solid var(--_line);
    outline-offset: 3px;
  }

  .xterm .xterm-viewport {
    background: transparent;
    overflow: hidden;
  }

  .note {
    background: var(--_soft);
    border: 1px solid var(--_line);
    border-radius: 4px;
    bottom: 6px;
    font-size: 0.75rem;
    padding: 0 0.5em;
    pointer-events: none;
    position: absolute;
    right: 18px;
    z-index: 12;
  }

  button {
    background: transparent;
    border: 1px solid var(--_line);
    border-radius: 5px;
    color: inherit;
    cursor: pointer;
    font: inherit;
    min-height: 24px;
    padding: 0.15em 0.7em;
  }

  button:hover:not(:disabled) {
    background: var(--_soft);
  }

  button:disabled {
    cursor: default;
    opacity: 0.5;
  }

  :is(button, input):focus-visible {
    outline: 2px solid var(--_accent);
    outline-offset: 1px;
  }

  button.toggle {
    font-size: 0.75rem;
    padding-inline: 0.4em;
  }

  button.toggle[aria-pressed="true"] {
    background: var(--_fg);
    color: var(--_bg);
  }

  button.close {
    border: 0;
    padding: 0 0.4em;
  }

  button.main {
    background: var(--_fg);
    border-color: var(--_fg);
    color: var(--_bg);
  }

  button.main:hover:not(:disabled) {
    background: color-mix(in srgb, var(--_fg) 85%, var(--_bg));
  }

  .gap {
    border-top: 1px dashed var(--_warn);
    box-sizing: border-box;
    pointer-events: none;
  }

  .gap > span {
    background: var(--_warn);
    border-radius: 0 0 0 4px;
    color: #1a1206;
    font: 600 0.6875rem / 1.3 var(--terminal-ui-font, system-ui, sans-serif);
    padding: 0 0.6em;
    position: absolute;
    right: 0;
    top: 0;
  }

  .leave {
    background: var(--_soft);
    border-radius: 4px;
    bottom: 6px;
    left: 8px;
    padding: 0.2em 0.6em;
    position: absolute;
    z-index: 21;
  }

  .leave:not(:focus) {
    clip-path: inset(50%);
  }

  .leave:focus {
    outline: 2px solid var(--_accent);
  }

  .hidden-text {
    clip-path: inset(50%);
    height: 1px;
    overflow: hidden;
    position: absolute;
    white-space: nowrap;
    width: 1px;
  }
`;
