import t from "tap";

import { openStand } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** BERTH_PAUSED_MINUTES, by the whole program on the real engine: what goes to sleep by itself lies frozen there. */
const NAP = { image: "onDemand", on_demand: true, shutdown_timeout: 0.02 } as const;
const stand = await openStand(t, "frozen", { naps: NAP, stopped: NAP, changed: NAP }, { env: { BERTH_PAUSED_MINUTES: "60" } });

const json = async (folder: string, path: string) => (await (await stand.ask(folder, path)).json()) as Record<string, string>;
/** What the engine says of the one instance that there is. */
const inspect = async (folder: string) => {
  const [id = "", ...more] = await stand.instances(folder);
  t.same(more, []);
  const { State } = await stand.docker.getContainer(id).inspect();
  return { id, paused: State.Paused, startedAt: State.StartedAt };
};
const asleep = async (folder: string) => {
  await stand.until(folder, "stopped by system");
  const inspected = await inspect(folder);
  t.equal(inspected.paused, true, `${folder} lies frozen`);
  return inspected;
};
/** The user that the API sees behind a token. */
const who = async (token: string) => (await stand.berth().call("/users/current", { headers: { authorization: token } })).status;

t.test("a container lies frozen across a kill of berth, and a request has the very process go on, whose token counts again", async (t) => {
  const { startedAt } = await json("naps", "/times");
  const { USER_API_KEY: token = "" } = await json("naps", "/env");
  const before = await asleep("naps");
  t.equal(await who(token), 401, "while it sleeps its token has no user");
  await stand.restart();
  t.equal((await stand.entity("naps")).status, "stopped by system");
  t.same(await inspect("naps"), before);
  t.same((await json("naps", "/times"))["startedAt"], startedAt, "what it had in memory is there");
  t.equal(await who((await json("naps", "/env"))["USER_API_KEY"] ?? ""), 200);
  t.same(await inspect("naps"), { ...before, paused: false }, "the engine started nothing");
  const { id } = await stand.entity("naps");
  const wakes = (await (await stand.berth().call(`/docker/containers/${id}/wakes`)).json()) as { outcome: string }[];
  t.equal(wakes.length, 2, "its wake is one of the list");
});

t.test("a user's stop ends it, and so does a new definition, which the next request starts", async (t) => {
  await Promise.all([stand.ask("stopped", "/"), stand.ask("changed", "/")]);
  const [, old] = await Promise.all([asleep("stopped"), asleep("changed")]);
  const { id } = await stand.entity("stopped");
  t.equal((await stand.berth().call(`/docker/containers/${id}/stop?awaitStop=true`)).status, 200);
  await eventually("the stopped one to be gone", async () => (await stand.instances("stopped")).length === 0);
  t.equal((await stand.entity("stopped")).status, "stopped by user");
  const { Image } = (await stand.docker.getContainer(old.id).inspect()).Config;
  await stand.publish({ changed: { ...NAP, image: Image, env: { NEW: "yes" } } });
  t.match(await json("changed", "/env"), { NEW: "yes" });
  t.not((await inspect("changed")).id, old.id);
});
