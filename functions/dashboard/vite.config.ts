import { defineConfig } from "vitest/config";

// The tree of `dist/` is that of the addresses: pages beside each other, `dashboard/assets/` below them. Addresses are
// relative, because API Gateway puts the name of its stage before them.
export default defineConfig({
  base: "./",
  build: {
    assetsDir: "dashboard/assets",
    assetsInlineLimit: 0, // the content security policy allows no data: addresses
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
  test: { include: ["test/**/*.test.ts"] },
});
