// How parts of the console ask for something to be done: one event, which names a command of the table in commands.ts.

export interface About {
  /** The pane that is meant; without it the one with the keyboard. */
  readonly pane?: string;
  /** The tab that is meant, counted from 0. */
  readonly tab?: number;
  /** The session that is meant, where it is not that of a pane. */
  readonly session?: string;
}

export interface Act extends About {
  readonly command: string;
}

/** Ask the console to carry out a command. */
export function act(from: EventTarget, command: string, about: About = {}): void {
  from.dispatchEvent(new CustomEvent<Act>("act", { bubbles: true, composed: true, detail: { command, ...about } }));
}

/** Return the element that has the keyboard, through all shadow roots; the body if none has. */
export function activeElement(): Element | null {
  let element = document.activeElement;
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  return element;
}
