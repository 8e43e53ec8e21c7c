// The examples: `npm run examples` serves them; the tests build and open them.
import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vite";

export default defineConfig({
  root: "examples",
  base: "./",
  publicDir: false,
  server: { host: "127.0.0.1", port: 5173, strictPort: true, open: "/plain/" },
  build: {
    outDir: "../build/examples",
    emptyOutDir: true,
    target: "es2022",
    chunkSizeWarningLimit: 1000,
    rolldownOptions: {
      input: ["plain", "react", "vue"].map((name) => `${import.meta.dirname}/examples/${name}/index.html`),
    },
  },
  plugins: [vue({ template: { compilerOptions: { isCustomElement: (tag) => tag.startsWith("terminal-") } } })],
});
