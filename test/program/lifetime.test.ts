import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { WebSocket } from "ws";
import { eventually } from "../fixtures/eventually.ts";
import { openStand, type ProgramFixture } from "./contract/stand.ts";
import { WEBSOCKET_APP } from "./websocket-app.ts";

function appFiles(config: object, version = "1"): Record<string, string> {
  return {
    "dockerfiles/live/Dockerfile": 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
    "dockerfiles/live/server.cjs": `// ${version}\n${WEBSOCKET_APP}`,
    "dockerfiles/live/container.json": JSON.stringify({ on_demand: true, ...config }),
  };
}

/** A WebSocket that is connected to the container, by either route. */
async function openSocket(stand: ProgramFixture, id: string, route: "proxy" | "proxy-ws") {
  const socket = new WebSocket(`${stand.api.replace(/^http/, "ws")}/docker/containers/${route}/${id}/`, { headers: { authorization: stand.token } });
  const received: string[] = [];
  const state: { closed?: { code: number; reason: string } } = {};
  socket.on("message", (data: Buffer) => received.push(data.toString()));
  socket.on("close", (code, reason) => (state.closed = { code, reason: reason.toString() }));
  socket.on("error", () => undefined);
  socket.on("open", () => socket.send("hello"));
  await eventually(`the echo over ${route}`, () => received.includes("hello"));
  return {
    closed: async () => {
      await eventually(`the close of ${route}`, () => state.closed !== undefined);
      return state.closed;
    },
  };
}

/** Many, so that each gateway process has some. */
async function openSockets(stand: ProgramFixture, id: string) {
  const routes = Array.from({ length: 8 }, (_, index) => (index % 2 === 0 ? ("proxy-ws" as const) : ("proxy" as const)));
  return Promise.all(routes.map((route) => openSocket(stand, id, route)));
}

async function openTwoGateways(t: Test, config: object = {}) {
  const stand = await openStand(t, { BERTH_WORKERS: "2" });
  await stand.published("demo", appFiles(config));
  const { id } = await stand.container("demo-live");
  return { stand, id };
}

t.test("a stop by a user, a newer version and a removal close every WebSocket with 1001 and the reason, at each gateway", async (t) => {
  const { stand, id } = await openTwoGateways(t);
  let sockets = await openSockets(stand, id);
  await stand.call(`/docker/containers/${id}/stop?awaitStop=true`);
  const expect = async (reason: string) => {
    for (const { closed } of sockets) t.same(await closed(), { code: 1001, reason });
  };
  await expect("A user stopped the container");
  const { lastLogs = "" } = await stand.container("demo-live");
  t.equal(lastLogs.match(/closed with 1001/g)?.length, 8, "the container received the clients' replies");

  sockets = await openSockets(stand, id);
  await stand.published("demo", appFiles({}, "2"));
  await expect("The container is replaced by a newer version: connect again");

  sockets = await openSockets(stand, id);
  await stand.published("demo", { "dockerfiles/other/Dockerfile": "FROM node\nEXPOSE 8080\n" });
  await expect("The container was removed");
});

t.test("a container with max_minutes closes its WebSockets, lets requests end and stops; the next request starts it", async (t) => {
  const { stand, id } = await openTwoGateways(t, { max_minutes: 0.1 });
  const get = async (path: string) => {
    const response = await fetch(`${stand.api}/docker/containers/proxy/${id}${path}`, { headers: { authorization: stand.token } });
    t.equal(response.status, 200);
    return response.text();
  };
  const sockets = await openSockets(stand, id);
  const first = await get("/");
  const { next } = await stand.json(`/docker/containers/${id}/explain`);
  t.match(next, [{ says: "It has run for its max_minutes and stops, used or not." }]);
  const leftMs = Date.parse(next[0].time) - Date.now();
  t.ok(leftMs > 0 && leftMs <= 6_000, `${leftMs} ms are left`);
  // Requests one after the other: some are open when it expires, and then wait for the next start.
  const pids = new Set<string>();
  const busy = (async () => {
    while (pids.size < 2) pids.add(await get("/slow"));
  })();
  for (const { closed } of sockets)
    t.same(await closed(), { code: 1001, reason: "The container has run for 0.1 minutes, its max_minutes: connect again" });
  await busy;
  t.equal([...pids][0], first, "it was in use until then");
  const events: { event: string }[] = await stand.json(`/docker/containers/${id}/history`);
  t.ok(events.some(({ event }) => event === "expired"));
});

/** The blocks of a page, by their language, in order. */
function blocksOf(page: string, language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, "gm"))].map(([, block = ""]) => block);
}

t.test("the example of docs/lifetime.md does what the page says", async (t) => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/lifetime.md"), "utf8");
  t.ok(page.split(/\s+/).length <= 500, "at most 500 words");
  const [dockerfile = "", program = "", config = ""] = ["dockerfile", "js", "json"].map((language) => blocksOf(page, language)[0]);
  const stand = await openStand(t);
  const { warnings } = await stand.published("live", {
    "dockerfiles/live/Dockerfile": dockerfile,
    "dockerfiles/live/server.cjs": program,
    "dockerfiles/live/container.json": config,
  });
  t.same(warnings, []);
  const { id } = await stand.container("live-live");
  const response = await fetch(`${stand.api}/docker/containers/proxy/${id}/`, { headers: { authorization: stand.token } });
  t.equal(await response.text(), "hello");
  await stand.until("live-live", ["stopped by system"]);
  const { why } = await stand.json(`/docker/containers/${id}/explain`);
  t.ok(page.replaceAll(/\s+/g, " ").includes(why), why);
  const moves: { event: string; time: string }[] = await stand.json(`/docker/containers/${id}/history`);
  const timeOf = (event: string) => Date.parse(moves.find((move) => move.event === event)?.time ?? "");
  t.ok(timeOf("stoppedForSystem") - timeOf("stopBegan") >= 1_990, "it had the time that it needs to end");
});
