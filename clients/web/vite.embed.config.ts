// The element as one file under a name that stays: what a page elsewhere embeds with one script tag.
import { defineConfig } from "vite";
import { sourcemapsApart } from "./vite.shared.ts";

export default defineConfig({
  publicDir: false,
  build: {
    outDir: "../../terminal_service/static/embed",
    emptyOutDir: true,
    sourcemap: "hidden",
    target: "es2022",
    chunkSizeWarningLimit: 1000,
    lib: { entry: "src/element/index.ts", formats: ["es"], fileName: () => "terminal-session.js" },
    rolldownOptions: { output: { minify: true, chunkFileNames: "[name]-[hash].js" } },
  },
  plugins: [sourcemapsApart("embed")],
});
