// Which of xterm.js' renderers draws: WebGL where the machine has a GPU for it, the DOM everywhere else.
import type { Terminal } from "@xterm/xterm";
import { resizeRenderer } from "./internals.ts";

export type RendererChoice = "auto" | "webgl" | "dom";

/** Draws a terminal with WebGL if that is wanted and possible; whatever goes wrong, the DOM renderer goes on. */
export class Renderer {
  readonly #terminal: Terminal;
  readonly #changed: () => void;
  #addon: { dispose(): void } | null = null;
  #choice: RendererChoice = "dom";

  /** `changed` is told after each change: characters may be of another size then. */
  constructor(terminal: Terminal, changed: () => void) {
    this.#terminal = terminal;
    this.#changed = changed;
  }

  /** What draws now. */
  get kind(): "webgl" | "dom" {
    return this.#addon === null ? "dom" : "webgl";
  }

  /** Change the renderer; `auto` takes WebGL only where it is not emulated in software. Resolves when it draws. */
  async choose(choice: RendererChoice): Promise<void> {
    if (choice === this.#choice) return;
    this.#choice = choice;
    if (choice === "dom") this.#toDom();
    else if (this.#addon === null && hasWebgl(choice === "auto")) await this.#toWebgl();
  }

  /** Let go of the GPU; the terminal must still be alive, or be disposed of next. */
  dispose(): void {
    this.#choice = "dom";
    this.#addon = null; // the terminal disposes of its addons itself
  }

  async #toWebgl(): Promise<void> {
    try {
      const { WebglAddon } = await import("@xterm/addon-webgl");
      if (this.#choice === "dom") return;
      const addon = new WebglAddon();
      addon.onContextLoss(() => this.#toDom());
      this.#terminal.loadAddon(addon);
      this.#addon = addon;
      resizeRenderer(this.#terminal);
      this.#changed();
    } catch {
      // No context after all, or the file of the addon is gone after an update of the service: the DOM renderer draws.
      this.#addon = null;
    }
  }

  #toDom(): void {
    const addon = this.#addon;
    this.#addon = null;
    if (addon === null) return;
    addon.dispose();
    this.#changed();
  }
}

/** Renderers without a GPU: the DOM is faster, and spares the processor. */
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

/** Whether WebGL 2 is there; `fast`: and not emulated in software. */
function hasWebgl(fast: boolean): boolean {
  const context = document
    .createElement("canvas")
    .getContext("webgl2", { failIfMajorPerformanceCaveat: fast, antialias: false, depth: false });
  if (context === null) return false;
  const info = context.getExtension("WEBGL_debug_renderer_info");
  const name = String(context.getParameter(info?.UNMASKED_RENDERER_WEBGL ?? context.RENDERER));
  context.getExtension("WEBGL_lose_context")?.loseContext(); // browsers allow few; this one was only a question
  return !(fast && SOFTWARE.test(name));
}
