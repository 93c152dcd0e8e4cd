import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { correctnessPage } from "./page.ts";
import { PEER_ROWS } from "./peers.ts";
import { ROWS } from "./rows.ts";

t.test("the page of what the gateway does is in step with its rows (else: npm run docs)", async (t) => {
  t.equal(readFileSync(join(import.meta.dirname, "../../gateway/correctness.md"), "utf8"), correctnessPage());
});

t.test("whatever others were asked is asked of berth", async (t) => {
  const ids = ROWS.map(({ id }) => id);
  t.same(
    PEER_ROWS.filter(({ id }) => !ids.includes(id)),
    [],
  );
});
