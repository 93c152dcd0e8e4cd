import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ENGINES } from "./engines.ts";
import { correctnessPage } from "./page.ts";
import { PEER_ROWS } from "./peers/by-hand.ts";
import { ROWS } from "./rows.ts";

t.test("the page of what the gateway does is in step with its rows (else: npm run docs)", async (t) => {
  t.equal(readFileSync(join(import.meta.dirname, "../../docs/reference/correctness.md"), "utf8"), correctnessPage());
});

t.test("berth gets every row that other proxies got", async (t) => {
  const ids = ROWS.map(({ id }) => id);
  t.same(
    PEER_ROWS.filter(({ id }) => !ids.includes(id)),
    [],
  );
});

t.test("every row has a name of its own, and what an engine declares is a row", async (t) => {
  const ids = ROWS.map(({ id }) => id);
  t.equal(new Set(ids).size, ids.length);
  for (const { forwarder, cannot } of ENGINES) {
    const unknown = Object.keys(cannot).filter((id) => !ids.includes(id));
    t.same(unknown, [], forwarder);
  }
});
