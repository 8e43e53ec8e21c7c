// Only this module touches what xterm.js keeps to itself. Each use is checked: an upgrade that takes one away must fail, not leak.
import type { IDisposable, Terminal } from "@xterm/xterm";

/** An upgrade of xterm.js took away something that this element cannot do without. */
export class XtermChanged extends Error {
  constructor(what: string) {
    super(`this version of xterm.js has no ${what}: use the version that this package names`);
    this.name = "XtermChanged";
  }
}

type Fields = Record<string, unknown>;
type Method = (...values: unknown[]) => unknown;

/** Call back just before each `onData` and `onBinary` that comes from the user and not from the emulator's answers. */
export function onUserInput(terminal: Terminal, listener: () => void): IDisposable {
  const service = fields(core(terminal), "coreService");
  return method(service, "onUserInput").call(service, listener) as IDisposable;
}

/**
 * Open a terminal whose style sheets and styles pass a policy without inline styles.
 *
 * The document of the options serves the DOM renderer only: the scroll bar asks another service for its document, and
 * the DOM renderer writes 24-bit colours as style attributes, which such a policy refuses; through CSSOM they pass.
 */
export function openStrictly(terminal: Terminal, parent: HTMLElement, strictDocument: Document): void {
  const inner = core(terminal);
  const createRenderer = method(inner, "_createRenderer");
  inner["_createRenderer"] = () => withStyleObjects(createRenderer.call(inner) as Fields);
  let opening: unknown = new XtermChanged("_core.onWillOpen");
  const hook = method(inner, "onWillOpen").call(inner, () => {
    opening = replaceDocument(inner, strictDocument); // whatever is thrown in here is swallowed
  }) as IDisposable;
  terminal.open(parent);
  hook.dispose();
  if (opening !== null) throw opening;
  if (terminal.element?.querySelector("style")) throw new XtermChanged("documentOverride");
}

/** Have the cursor drawn before the terminal had the focus for the first time: who only looks on wants to see it too. */
export function showCursorAtOnce(terminal: Terminal): void {
  const service = fields(core(terminal), "coreService");
  if (service["isCursorInitialized"] === undefined) throw new XtermChanged("coreService.isCursorInitialized");
  service["isCursorInitialized"] = true;
}

/** Have the cursor drawn hollow even with the focus: nothing can be typed here. */
export function drawUnfocused(terminal: Terminal): void {
  const service = fields(core(terminal), "_coreBrowserService");
  if (!("isFocused" in service)) throw new XtermChanged("_coreBrowserService.isFocused");
  Object.defineProperty(service, "isFocused", { value: false });
}

/** The size of one character as it is drawn, in CSS pixels; zero before anything was measured. As addon-fit does. */
export function drawnCell(terminal: Terminal): { width: number; height: number } {
  const renderer = fields(core(terminal), "_renderService");
  const cell = fields(fields(fields(renderer, "dimensions"), "css"), "cell");
  const { width, height } = cell;
  if (typeof width !== "number" || typeof height !== "number") throw new XtermChanged("dimensions.css.cell");
  return { width, height };
}

/** Have a renderer that was put in take its size: the WebGL addon does so when it goes, not when it comes. */
export function resizeRenderer(terminal: Terminal): void {
  const renderer = fields(core(terminal), "_renderService");
  method(renderer, "handleResize").call(renderer, terminal.cols, terminal.rows);
}

function replaceDocument(inner: Fields, strictDocument: Document): Error | null {
  const service = inner["_coreBrowserService"] as Fields | undefined;
  if (service?.["mainDocument"] === undefined) return new XtermChanged("_coreBrowserService.mainDocument");
  service["mainDocument"] = strictDocument;
  return null;
}

function withStyleObjects(renderer: Fields): Fields {
  const factory = fields(renderer, "_rowFactory");
  method(factory, "_addStyle");
  factory["_addStyle"] = (element: HTMLElement, style: string) => {
    element.style.cssText += `${style};`;
  };
  return renderer;
}

function core(terminal: Terminal): Fields {
  return fields(terminal as unknown as Fields, "_core");
}

function fields(owner: Fields, name: string): Fields {
  const value = owner[name];
  if (typeof value !== "object" || value === null) throw new XtermChanged(name);
  return value as Fields;
}

function method(owner: Fields, name: string): Method {
  const value = owner[name];
  if (typeof value !== "function") throw new XtermChanged(name);
  return value as Method;
}
