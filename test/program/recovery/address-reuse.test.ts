import t, { type Test } from "tap";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { WebSocket } from "ws";

import { openEngine } from "../../fixtures/engine.ts";
import { openEngineProxy } from "./engine-proxy.ts";
import { engineHost, openStand } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/**
 * A container dies, and the engine gives its address to the next one that starts, while it is slow to say how the first one is. Every answer is held against
 * the name of the container in the request. The network is one that berth did not make, so that the engine chooses addresses by itself: the lowest that is free.
 */
const proxy = await openEngineProxy(engineHost);
const network = `berth-given-${process.pid}`;
const { docker } = openEngine();
await docker.createNetwork({ Name: network });
const app = (who: string) => ({ image: "onDemand", on_demand: true, env: { WHO: who, BOOT_MS: "1000" } }) as const;
const stand = await openStand(
  t,
  "reuse",
  { victim: app("victim"), next: app("next") },
  { dockerHost: proxy.host, env: { BERTH_DOCKER_NETWORK: network } },
);
t.teardown(() => proxy.close());

const ASKERS = 6;
const SLOW_MS = 4_000;
/** Between two requests of one client: enough of them to meet each moment, without the whole of a processor that other tests share. */
const PAUSE_MS = 10;

const who = async (folder: string) => (await (await stand.ask(folder, "/env")).json() as { WHO: string }).WHO; // prettier-ignore

/** Sends requests to one container until `end`: counts which one answered, or the status. */
function askOn(id: string): { answers: Map<string, number>; end(): Promise<void> } {
  const answers = new Map<string, number>();
  const hear = (answer: string) => void answers.set(answer, (answers.get(answer) ?? 0) + 1);
  const over = new AbortController();
  const { api, token } = stand.berth();
  const http = async () => {
    while (!over.signal.aborted) {
      const answer = await stand.berth().call(`/docker/containers/proxy/${id}/env`);
      const body = await answer.text();
      hear(answer.status === 200 ? `http ${(JSON.parse(body) as { WHO: string }).WHO}` : `status ${answer.status}`);
      await pause(PAUSE_MS);
    }
  };
  const webSocket = async () => {
    while (!over.signal.aborted) {
      const socket = new WebSocket(`${api.replace("http", "ws")}/docker/containers/proxy-ws/${id}/ws`, {
        headers: { cookie: `auth=${encodeURIComponent(token)}` },
      });
      const closed = once(socket, "close");
      socket.on("error", () => undefined);
      socket.on("message", (message) => {
        const text = String(message);
        if (text === "CONNECTED") return socket.send("who");
        hear(`ws ${text}`);
        socket.close();
      });
      await closed;
      await pause(PAUSE_MS);
    }
  };
  const askers = [...Array.from({ length: ASKERS }, http), ...Array.from({ length: ASKERS }, webSocket)];
  return {
    answers,
    end: async () => {
      over.abort();
      await Promise.all(askers);
    },
  };
}

async function reuse(t: Test): Promise<void> {
  const [instance = ""] = await stand.instances("victim");
  const { id, address: before } = await stand.entity("victim");
  const asking = askOn(id);
  await eventually("it gets requests", async () => [...asking.answers.values()].some((count) => count > 3));
  await docker.getContainer(instance).kill();
  const next = who("next");
  await eventually("another one has its address", async () => (await stand.entity("next")).address === before);
  t.equal(await next, "next");
  t.equal(await who("victim"), "victim", "it is there again");
  const after = await stand.entity("victim");
  t.not(after.address, before, "somewhere else");
  await asking.end();
  const answers = [...asking.answers.keys()].toSorted();
  t.comment(JSON.stringify(Object.fromEntries(asking.answers)));
  t.same(answers.filter((answer) => answer.endsWith(" next")), [], "the other one answered no request"); // prettier-ignore
  t.ok(answers.includes("http victim") && answers.includes("ws victim"));
}

async function rest(): Promise<void> {
  for (const folder of ["victim", "next"]) {
    const { id } = await stand.entity(folder);
    await stand.berth().call(`/docker/containers/${id}/stop?awaitStop=true`);
    await stand.until(folder, "stopped by user");
    await eventually("it is gone", async () => (await stand.instances(folder)).length === 0);
  }
}

t.test("a container's requests are answered by no other one, however slowly the engine answers an inspection", async (t) => {
  t.equal(await who("victim"), "victim");
  const { serviceName } = await stand.entity("victim");
  proxy.slow(new RegExp(`^GET \\S*/containers/${serviceName}/json`), SLOW_MS);
  await reuse(t);
  await rest();
});

t.test("nor where the engine tells of its end later than of the next one's start", async (t) => {
  t.equal(await who("victim"), "victim");
  proxy.slowEvents(SLOW_MS);
  await reuse(t);
  proxy.slowEvents(0);
  await rest();
});
