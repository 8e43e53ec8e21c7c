// The dot that tells a state by its colour; words stand beside it for who cannot see colours.
import { css } from "lit";

/** `<span class="dot good">`: good, warn, bad, off; else muted. */
export const dotStyles = css`
  .dot {
    forced-color-adjust: none;
    flex: none;
    width: 8px;
    height: 8px;
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
  .dot.off {
    background: none;
    border: 2px solid var(--muted);
  }
`;
