// The pictures on buttons: 16 × 16, drawn with lines in the colour of the text. Hidden from assistive technology.
import { html, type SVGTemplateResult, svg, type TemplateResult } from "lit";

const SHAPES = {
  menu: svg`<path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11"/>`,
  sidebar: svg`<rect x="2" y="3" width="12" height="10" rx="2"/><path d="M6.5 3v10"/>`,
  plus: svg`<path d="M8 3v10M3 8h10"/>`,
  options: svg`<path d="M2.5 5h5M11.5 5h2M2.5 11h2M8.5 11h5"/><circle cx="9.5" cy="5" r="1.8"/><circle cx="6.5" cy="11" r="1.8"/>`,
  close: svg`<path d="m4 4 8 8M12 4l-8 8"/>`,
  search: svg`<circle cx="7" cy="7" r="4.2"/><path d="m10.2 10.2 3.3 3.3"/>`,
  auto: svg`<circle cx="8" cy="8" r="5.5"/><path d="M8 2.5v11A5.5 5.5 0 0 0 8 2.5Z" fill="currentColor"/>`,
  light: svg`<circle cx="8" cy="8" r="2.8"/><path d="M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9"/>`,
  dark: svg`<path d="M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8Z"/>`,
  right: svg`<rect x="2" y="3" width="12" height="10" rx="2"/><path d="M8 3v10M10 8h2.4M11.2 6.8v2.4"/>`,
  down: svg`<rect x="2" y="3" width="12" height="10" rx="2"/><path d="M2 8h12M6.8 10.5h2.4M8 9.3v2.4"/>`,
  zoom: svg`<path d="M9.5 2.5h4v4M6.5 13.5h-4v-4M13.2 2.8 9.4 6.6M2.8 13.2l3.8-3.8"/>`,
  more: svg`<circle cx="3.5" cy="8" r=".8" fill="currentColor"/><circle cx="8" cy="8" r=".8" fill="currentColor"/><circle cx="12.5" cy="8" r=".8" fill="currentColor"/>`,
  eye: svg`<path d="M1.6 8S4 3.8 8 3.8 14.4 8 14.4 8 12 12.2 8 12.2 1.6 8 1.6 8Z"/><circle cx="8" cy="8" r="1.9"/>`,
  pencil: svg`<path d="m3 13 .6-2.7 7-7a1.2 1.2 0 0 1 1.7 0l.4.4a1.2 1.2 0 0 1 0 1.7l-7 7L3 13Z"/>`,
  forward: svg`<path d="m3.5 4 4 4-4 4M8.5 4l4 4-4 4"/>`,
  clock: svg`<circle cx="8" cy="8" r="5.7"/><path d="M8 4.8V8l2.2 1.5"/>`,
  stop: svg`<circle cx="8" cy="8" r="5.7"/><path d="m6 6 4 4M10 6l-4 4"/>`,
  terminal: svg`<rect x="1.8" y="2.8" width="12.4" height="10.4" rx="2"/><path d="m4.5 6 2 2-2 2M8.3 10.2h3"/>`,
  sessions: svg`<rect x="2" y="2.8" width="12" height="4.4" rx="1.2"/><rect x="2" y="8.8" width="12" height="4.4" rx="1.2"/><path d="M4.4 5h.1M4.4 11h.1"/>`,
  metrics: svg`<path d="M2.2 13.5h11.6M4 11V8.5M7 11V4M10 11V6.5M13 11V3"/>`,
  health: svg`<path d="M1.8 8.4h2.6l1.6-4 3 7.4 1.7-3.4h3.5"/>`,
  keyboard: svg`<rect x="1.5" y="4" width="13" height="8" rx="1.5"/><path d="M4 6.7h.1M6.6 6.7h.1M9.3 6.7h.1M12 6.7h.1M5 9.4h6"/>`,
  paste: svg`<path d="M5.5 3.5h-2v10h9v-10h-2"/><rect x="5.5" y="2.2" width="5" height="2.8" rx="1"/>`,
  link: svg`<path d="M6.7 9.3 9.3 6.7M7 4.6l1.2-1.2a3.1 3.1 0 0 1 4.4 4.4L11.4 9M9 11.4l-1.2 1.2a3.1 3.1 0 0 1-4.4-4.4L4.6 7"/>`,
  reconnect: svg`<path d="M13 8a5 5 0 1 1-1.5-3.5M13 2.5V5h-2.5"/>`,
  signout: svg`<path d="M6.5 3h-3v10h3M9.5 5.2 12.3 8l-2.8 2.8M12 8H6.3"/>`,
  larger: svg`<path d="m1.8 12.5 3.4-9h.6l3.4 9M3 9.6h5M12 5.5v4M10 7.5h4"/>`,
} satisfies Record<string, SVGTemplateResult>;

export type Sign = keyof typeof SHAPES;

export function sign(name: Sign): TemplateResult {
  return html`<svg class="sign" viewBox="0 0 16 16" aria-hidden="true">${SHAPES[name]}</svg>`;
}
