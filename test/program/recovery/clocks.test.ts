import t from "tap";
import { openStand } from "./stand.ts";

const LIMIT_MS = 3_000;
const stand = await openStand(t, "clocks", { app: { image: "plain" } }, { dockerSettings: { proxyRequestTimeout: LIMIT_MS } });

t.test("a container that accepts and does not answer is a 504 at the limit, and stays started", async (t) => {
  await stand.run("app");
  const begun = performance.now();
  const answer = await stand.ask("app", `/slow-head?ms=${LIMIT_MS * 5}`);
  t.equal(answer.status, 504);
  t.hasProp((await answer.json()) as object, "datagrok-error");
  t.ok(performance.now() - begun >= LIMIT_MS * 0.9, "not before the limit");
  t.equal((await stand.entity("app")).status, "started");
  t.equal((await stand.ask("app", "/")).status, 200);
});

t.test("a body that takes longer than the limit is no failure", async (t) => {
  const answer = await stand.ask("app", `/slow-body?ms=${LIMIT_MS * 1.5}`);
  t.equal(await answer.text(), "first,last");
});

t.test("a stream goes on for as long as it wants", async (t) => {
  const answer = await stand.ask("app", `/stream?count=80&every=50`);
  t.match(await answer.text(), /data: 79/);
});
