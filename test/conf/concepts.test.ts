import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { CONTAINER_TABLE } from "../../control/model/states.ts";

t.test("the page has each transition of a container's states and no other, and its picture some of them", async (t) => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/concepts.md"), "utf8");
  const listed = [...page.matchAll(/^\| ([A-Z_]+) +\| ([A-Z_]+) +\|/gm)].map(([, from, to]) => `${from} → ${to}`);
  const drawn = [...page.matchAll(/^ {2}([A-Z_]+) --> ([A-Z_]+): /gm)].map(([, from, to]) => `${from} → ${to}`);
  const real = Object.entries(CONTAINER_TABLE).flatMap(([from, row]) => Object.values(row).map((to) => `${from} → ${to}`));
  t.same(listed.toSorted(), [...new Set(real)].toSorted());
  t.ok(drawn.length > 8);
  t.same(drawn.filter((one) => !real.includes(one)), []); // prettier-ignore
});
