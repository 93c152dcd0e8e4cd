import { defineConfig } from "vite";

/** `npm run build:console`: web/ becomes dist/, which console-routes.ts serves. */
export default defineConfig({
  root: "control/console/web",
  base: "/console/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  // Nothing is written into the page itself: its content security policy forbids inline scripts, styles and data: URLs.
  build: { outDir: "../dist", emptyOutDir: true, assetsDir: ".", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
});
