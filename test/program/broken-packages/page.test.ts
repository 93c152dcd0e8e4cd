import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { MISTAKES } from "./mistakes.ts";
import { brokenPackagesPage, loadReadings } from "./page.ts";

t.test("the page of broken packages is in step with what was read (else: npm run docs)", async (t) => {
  t.equal(readFileSync(join(import.meta.dirname, "../../../docs/broken-packages.md"), "utf8"), brokenPackagesPage());
  t.same(Object.keys(loadReadings()), MISTAKES.map(({ name }) => name)); // prettier-ignore
});
