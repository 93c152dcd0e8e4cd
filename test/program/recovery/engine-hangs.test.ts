import t from "tap";

import { openEngineProxy } from "./engine-proxy.ts";
import { engineHost, openStand } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** The engine takes requests and does not answer: nothing waits for it longer than a passing state may last. */
const STATUS_MINUTES = 0.05;
const proxy = await openEngineProxy(engineHost);
const stand = await openStand(
  t,
  "hangs",
  { app: { image: "plain" } },
  { dockerHost: proxy.host, dockerSettings: { containerStatusTimeoutMinutes: STATUS_MINUTES } },
);
t.teardown(() => proxy.close());

type Line = { event: string; cause: { code: string } | null };
const imageIs = (status: string) =>
  eventually(`the image to be ${status}`, async () => {
    const { dockerfile } = await stand.entity("app");
    return dockerfile.status === status ? dockerfile : undefined;
  });

t.test("an image about which the engine says nothing is in error with the cause, and ready once it is requested again", async (t) => {
  const { id } = await imageIs("ready");
  proxy.hang(/^GET \S*\/images\//);
  t.ok((await stand.berth().call(`/docker/images/${id}/revalidate`)).ok);
  const { logs } = await imageIs("error");
  t.match(logs, /VALIDATION_TIMED_OUT/);
  const history = (await (await stand.berth().call(`/docker/images/${id}/history`)).json()) as Line[];
  t.match(history.at(-1), { event: "timedOut", cause: { code: "VALIDATION_TIMED_OUT" } });
  proxy.answer();
  t.ok((await stand.berth().call(`/docker/images/${id}/revalidate`)).ok);
  await imageIs("ready");
});

t.test("a stop that the engine does not carry out is in error, still desired, and carried out once the engine answers again", async (t) => {
  await stand.run("app");
  const [instance = ""] = await stand.instances("app");
  proxy.hang(/^POST \S*\/stop|^DELETE /);
  const { id } = await stand.entity("app");
  await stand.berth().call(`/docker/containers/${id}/stop`);
  t.equal((await stand.until("app", "error")).desiredInstances, 0);
  t.match((await stand.history("app")).at(-1), { event: "timedOut", from: "stopping", cause: { code: "STOP_TIMED_OUT" } });
  t.same(await stand.instances("app"), [instance], "the engine still has it");
  proxy.answer();
  t.equal((await stand.until("app", "stopped by user")).desiredInstances, 0);
  t.same(await stand.instances("app"), []);
});
