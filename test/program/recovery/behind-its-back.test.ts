import t from "tap";

import { openStand } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** What other programs do to containers on the engine, and what containers do to themselves. */
const stand = await openStand(
  t,
  "behind",
  {
    plain: { image: "plain" },
    ondemand: { image: "onDemand", on_demand: true },
    mute: { image: "mute", on_demand: true },
    crash: { image: "crashing", on_demand: true },
  },
  { dockerSettings: { containerStatusTimeoutMinutes: 0.1 } },
);
const { docker } = stand;

/** The only instance, once it is another one than that. */
const another = (folder: string, before: string) =>
  eventually(`another instance of ${folder}`, async () => {
    const [now, ...more] = await stand.instances(folder);
    return now !== undefined && now !== before && more.length === 0 ? now : undefined;
  });

t.test("a plain container that was removed behind its back comes back by itself", async (t) => {
  await stand.run("plain");
  const [before = ""] = await stand.instances("plain");
  await docker.getContainer(before).remove({ force: true });
  await another("plain", before);
  await stand.until("plain", "started");
  t.same(await (await stand.ask("plain", "/square?number=3")).json(), { result: 9 });
});

t.test("one that ends by itself comes back, and its history says how it ended", async (t) => {
  const [before = ""] = await stand.instances("plain");
  await (await stand.ask("plain", "/exit?code=42")).text();
  await another("plain", before);
  await stand.until("plain", "started");
  const lost = (await stand.history("plain")).filter(({ event }) => event === "lost").at(-1);
  t.match(lost, { from: /^started|^checking/, to: "pending start", by: "system", cause: { code: "CONTAINER_CRASHED", message: /42/ } });
  t.match((await stand.entity("plain")).lastLogs, /square listens/, "its log tail is kept");
  t.equal((await stand.ask("plain", "/")).status, 200);
});

t.test("of one that is killed behind its back, the history names that, and not that it was never ready", async (t) => {
  const [before = ""] = await stand.instances("plain");
  await docker.getContainer(before).kill();
  await another("plain", before);
  await stand.until("plain", "started");
  const lost = (await stand.history("plain")).filter(({ event }) => event === "lost").at(-1);
  t.match(lost?.cause, { code: "CONTAINER_CRASHED", message: /137 \(killed by something other than berth\)/ });
  t.notMatch(lost?.cause?.message, /before it was ready/);
});

t.test("an on-demand container that was removed is woken by the next request", async (t) => {
  await stand.ask("ondemand", "/");
  const [before = ""] = await stand.instances("ondemand");
  await docker.getContainer(before).remove({ force: true });
  t.same(await (await stand.ask("ondemand", "/square?number=4")).json(), { result: 16 });
  t.equal((await stand.instances("ondemand")).length, 1);
});

t.test("one that ended by itself too", async (t) => {
  const [instance = ""] = await stand.instances("ondemand");
  const ended = docker.getContainer(instance).wait();
  await (await stand.ask("ondemand", "/exit?code=1")).text();
  await ended;
  t.same(await (await stand.ask("ondemand", "/square?number=5")).json(), { result: 25 });
  t.equal((await stand.instances("ondemand")).length, 1);
});

t.test("a container that never listens ends in error with the cause and its log tail, and nothing of it is left", async (t) => {
  const answer = await stand.ask("mute", "/");
  t.equal(answer.status, 500);
  t.match(((await answer.json()) as Record<string, string>)["datagrok-error"], /nothing accepts connections on port 8080/);
  const { id } = await stand.until("mute", "error");
  t.same(await stand.instances("mute"), []);
  t.match(await (await stand.berth().call(`/docker/containers/${id}/logs`)).text(), /mute began/);
  t.match((await stand.history("mute")).at(-1), { event: "startFailed", cause: { code: "START_TIMED_OUT" } });
});

t.test("a start that fails costs a handful of attempts, however many ask for it", async (t) => {
  const { id } = await stand.entity("crash");
  const since = Math.floor(Date.now() / 1000);
  const end = Date.now() + 6_000;
  let attempts = 0;
  while (Date.now() < end) {
    const answers = await Promise.all(Array.from({ length: 10 }, () => stand.berth().call(`/docker/containers/proxy/${id}/`)));
    attempts += answers.length;
    for (const answer of answers) if (answer.status !== 500) t.fail(`answered ${answer.status}`);
  }
  t.ok(attempts >= 100, `${attempts} requests`);
  const filters = { label: [`berth.container=${id}`], event: ["start"] };
  const events = await docker.getEvents({ since, until: Math.ceil(Date.now() / 1000), filters });
  let text = "";
  for await (const piece of events) text += String(piece);
  const starts = text.split("\n").filter((line) => line !== "").length;
  t.ok(starts >= 2 && starts <= 5, `${starts} starts`);
  t.same(await stand.instances("crash"), [], "and nothing is left of them");
});
