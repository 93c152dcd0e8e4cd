import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import t from "tap";

const BUILT = join(import.meta.dirname, "../../../control/console/dist");
/** What a browser loads before it shows anything, compressed. */
const MAX_BYTES = 120 * 1_024;

t.test("the page, its script and its styles are at most 120 KiB, compressed", async (t) => {
  const page = readFileSync(join(BUILT, "index.html"), "utf8");
  const names = [...page.matchAll(/(?:src|href)="\/console\/([\w.-]+\.(?:js|css))"/g)].map(([, name]) => name ?? "");
  t.ok(names.length >= 2, "a script and styles");
  const bytes = [Buffer.from(page), ...names.map((name) => readFileSync(join(BUILT, name)))].reduce((sum, file) => sum + gzipSync(file).length, 0);
  t.comment(`${bytes} bytes`);
  t.ok(bytes <= MAX_BYTES, `${bytes} bytes`);
});
