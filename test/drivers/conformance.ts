import type { Test } from "tap";
import { namer } from "./conformance/asking.ts";
import type { Harness, ConformanceWorld } from "./conformance/harness.ts";
import { CASES } from "./conformance/themes.ts";

export { call, get, labelsFor, namer, rejectsWith, specOf, text } from "./conformance/asking.ts";
export type { Harness, TestSource, Way } from "./conformance/harness.ts";

/** The promises of `drivers/driver.ts`, on a real orchestrator. What one cannot have is declared in its harness, with the reason. */
export async function conformance(t: Test, harness: Harness): Promise<void> {
  const name = namer("conf");
  const driver = harness.open();
  const world: ConformanceWorld = { harness, driver, name };
  const cannot = harness.cannot ?? {};
  for (const one of CASES) {
    const reason = cannot[one.id];
    const missing = (one.needs ?? []).filter((part) => harness[part] === undefined);
    if (reason !== undefined) t.comment(`no: ${one.promise} (${reason})`);
    else if (missing.length > 0) t.fail(`"${one.id}" needs ${missing.join(", ")} of the harness, or a reason in its \`cannot\`: ${one.promise}`);
    else await t.test(one.promise, (t) => one.run(t, world));
  }
  t.strictSame(
    Object.keys(cannot).filter((id) => !CASES.some((one) => one.id === id)),
    [],
    "what is declared is a case",
  );
  await driver.close();
  t.strictSame(await harness.left(name("").slice(0, -1)), [], "nothing is left behind");
}
