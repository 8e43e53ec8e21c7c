// The npm package: the protocol client and the element, dependencies left to the bundler of who uses them.
// xterm.css is the exception: not every bundler knows `?inline`, so it is in ours.
import { defineConfig } from "vite";

export default defineConfig({
  publicDir: false,
  build: {
    outDir: "dist",
    emptyOutDir: true,
    sourcemap: true,
    target: "es2022",
    minify: false,
    lib: {
      entry: { index: "src/index.ts", client: "src/client/index.ts", element: "src/element/index.ts" },
      formats: ["es"],
    },
    rolldownOptions: { external: [/^@xterm\/[^/]+$/, /^@msgpack\//, /^lit/] },
  },
});
