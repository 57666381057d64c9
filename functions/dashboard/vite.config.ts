import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Leaves out the fonts that GraphiQL's style sheet holds as data: addresses; 500 kB that the policy forbids to load. */
const withoutFonts: Plugin = {
  name: "without-fonts",
  enforce: "pre",
  transform: (code, id) =>
    id.includes("graphiql/dist/style.css") ? code.replace(/@font-face\s*\{[^}]*data:[^}]*\}/g, "") : null,
};

// The tree of `dist/` is that of the addresses: pages beside each other, `dashboard/assets/` below them. Addresses are
// relative, because API Gateway puts the name of its stage before them.
export default defineConfig({
  base: "./",
  plugins: [withoutFonts],
  build: {
    assetsDir: "dashboard/assets",
    // Fonts become data: addresses: the function answers with text alone (functions/graphql/pages.py).
    assetsInlineLimit: (file) => /\.(ttf|woff2?)$/.test(file),
    modulePreload: { polyfill: false },
    target: "es2022",
    reportCompressedSize: false,
    chunkSizeWarningLimit: 5000, // kB; the editor of GraphiQL
    rolldownOptions: {
      input: ["index.html", "graphiql.html"],
      checks: { moduleLevelDirective: false }, // "use client" in packages of React says nothing here
    },
  },
  worker: { format: "es" },
  test: { include: ["test/**/*.test.ts"], testTimeout: 60_000 },
});
