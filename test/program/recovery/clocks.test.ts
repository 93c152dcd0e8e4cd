import { once } from "node:events";
import t from "tap";
import { WebSocket } from "ws";
import { openStand } from "./stand.ts";

const LIMIT_MS = 3_000;
/** Several times the time limit of a request. */
const BOOT_MS = 10_000;
const slow = { image: "onDemand", on_demand: true, env: { BOOT_MS: String(BOOT_MS) } } as const;
const stand = await openStand(
  t,
  "clocks",
  { app: { image: "plain" }, slow, run: slow, socket: slow },
  { dockerSettings: { proxyRequestTimeout: LIMIT_MS } },
);

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

t.test("a start that takes longer than a request may wait continues, and the response says what it does", async (t) => {
  const begun = performance.now();
  const first = await stand.ask("slow", "/square?number=4");
  t.match([first.status, first.statusText], [504, "Container not ready in time"]);
  t.ok(performance.now() - begun < BOOT_MS, "at the request's own limit");
  const { "datagrok-error": error = "" } = (await first.json()) as Record<string, string>;
  t.match(error, /was not ready within 3 s\. It has been starting for \d s, and nothing accepts connections on port 15353\. The start continues/);
  t.match(error, /Last log lines:\n\d{4}-\d\d-\d\dT[\d:.]+Z square boots/);
  t.equal((await stand.entity("slow")).status, "starting");
  await stand.until("slow", "started");
  t.same(await (await stand.ask("slow", "/square?number=4")).json(), { result: 16 });
  t.equal((await stand.history("slow")).filter(({ event }) => event === "startBegan").length, 1);
});

t.test("a user's run waits for such a start", async (t) => {
  await stand.run("run");
  t.equal((await stand.entity("run")).status, "started");
});

t.test("a WebSocket that waits for it is closed with the reason at the limit, and the next one is connected", async (t) => {
  const { id } = await stand.entity("socket");
  const open = () => {
    const { base, token } = stand.berth();
    return new WebSocket(`${base.replace("http", "ws")}/api/docker/containers/proxy-ws/${id}/ws`, { headers: { cookie: `auth=${token}` } });
  };
  const [code, reason] = (await once(open(), "close")) as [number, Buffer];
  t.equal(code, 1011);
  t.match(reason.toString(), /was not ready within 3 s\. It has been starting for \d s/);
  await stand.until("socket", "started");
  const next = open();
  t.teardown(() => next.terminate());
  t.equal(String((await once(next, "message"))[0]), "CONNECTED");
});

t.test("a body that takes longer than the limit is no failure", async (t) => {
  const answer = await stand.ask("app", `/slow-body?ms=${LIMIT_MS * 1.5}`);
  t.equal(await answer.text(), "first,last");
});

t.test("a stream goes on for as long as it wants", async (t) => {
  const answer = await stand.ask("app", `/stream?count=80&every=50`);
  t.match(await answer.text(), /data: 79/);
});
