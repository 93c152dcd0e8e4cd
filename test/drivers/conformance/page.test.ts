import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ADVICE } from "../../../drivers/faults.ts";
import { FAULTS } from "../../../lib/fault.ts";
import { BACKENDS, type ConformanceBackend } from "./backends.ts";
import { conformanceLines, driversPage } from "./page.ts";
import { CASES } from "./themes.ts";

const DRIVERS = join(import.meta.dirname, "../../../drivers");
/** What settings and the registries say passes through drivers, which have no advice on it. */
const OTHERS = ["SETTINGS_INVALID", "INTERNAL"];

t.test("the page of what drivers do is in step with the kit and the faults (else: npm run docs)", async (t) => {
  for (const line of conformanceLines()) t.comment(line);
  t.equal(readFileSync(join(DRIVERS, "../docs/reference/drivers.md"), "utf8"), driversPage());
});

t.test("every case has a name of its own, and what a backend cannot do is a case", async (t) => {
  const ids = CASES.map(({ id }) => id);
  t.equal(new Set(ids).size, ids.length);
  const backends: readonly ConformanceBackend[] = Object.values(BACKENDS);
  for (const { name, cannot } of backends)
    t.same(
      Object.keys(cannot).filter((id) => !ids.includes(id)),
      [],
      name,
    );
});

t.test("a driver throws no code that the page does not explain", async (t) => {
  for (const file of globSync("**/*.ts", { cwd: DRIVERS, exclude: ["spawner/server"] })) {
    const codes = [...readFileSync(join(DRIVERS, file), "utf8").matchAll(/"([A-Z]+(?:_[A-Z]+)+)"/g)].map(([, code]) => code as string);
    const unknown = codes.filter((code) => code in FAULTS && !(code in ADVICE) && !OTHERS.includes(code));
    t.same(unknown, [], file);
  }
});
