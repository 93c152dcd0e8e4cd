import { readdirSync, readFileSync } from "node:fs";
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
  const all = readdirSync(BUILT).filter((name) => name.endsWith(".js"));
  t.ok(all.length > 2, "charts, terminals and pages of administrators are scripts of their own");
  // A word that only the library of charts has, or of terminals.
  for (const library of ["u-over", "xterm-helper"])
    t.same(
      names.filter((name) => name.endsWith(".js") && readFileSync(join(BUILT, name), "utf8").includes(library)),
      [],
      `the first load has no ${library}`,
    );
  t.ok(bytes <= MAX_BYTES, `${bytes} bytes`);
});
