// The console: what the service serves at `/`, built into its package.
import { defineConfig } from "vitest/config";
import { sourcemapsApart } from "./vite.shared.ts";

export default defineConfig({
  root: "src/console",
  base: "./", // works below a prefix of a proxy too
  server: {
    proxy: {
      "/api": "http://127.0.0.1:8081",
      "/metrics": "http://127.0.0.1:8081",
      "/ws": { target: "ws://127.0.0.1:8081", ws: true },
    },
  },
  build: {
    outDir: "../../../../terminal_service/static",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the page's policy allows no data: URLs
    modulePreload: { polyfill: false },
    sourcemap: "hidden",
    target: "es2022",
    chunkSizeWarningLimit: 1000,
  },
  plugins: [sourcemapsApart("console")],
  test: { root: ".", silent: "passed-only", testTimeout: 60_000, include: ["tests/**/*.test.ts"], environment: "node" },
});
