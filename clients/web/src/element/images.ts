// Images in the terminal (sixel, iTerm's protocol): fetched and allowed only where the page asks for them.
import type { Terminal } from "@xterm/xterm";

/** Decoded images are kept in at most so many megabytes, the oldest go first. */
const STORAGE_MB = 64;
const PIXELS = 16_777_216;
const SEQUENCE_BYTES = 8_000_000;
/** The smallest module there is. */
const NOTHING = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);

/** Let a terminal draw images. Rejects where the page's policy forbids WebAssembly, which decodes them. */
export async function drawImages(terminal: Terminal): Promise<void> {
  await WebAssembly.compile(NOTHING);
  const { ImageAddon } = await import("@xterm/addon-image");
  terminal.loadAddon(
    new ImageAddon({
      enableSizeReports: false, // programs learn no sizes in pixels
      pixelLimit: PIXELS,
      storageLimit: STORAGE_MB,
      sixelSizeLimit: SEQUENCE_BYTES,
      iipSizeLimit: SEQUENCE_BYTES,
    }),
  );
}
