import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { readFileSync } from "node:fs";
import { type Berth, startBerth } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { isAlive, rolesBelow, workingIn } from "../fixtures/processes.ts";
import { freePort } from "../fixtures/server.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** Containers that speak a protocol of their own, behind a berth of several processes; they are child processes, so that no engine is needed. */
const SERVER = `
  import { createServer } from "node:net";
  process.on("SIGTERM", () => process.exit(0));
  createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined).on("data", (data) => socket.write(data)).on("end", () => socket.end(" over"));
  }).listen(Number(process.env.PORT ?? 5432));
`;
const FILES = {
  "package.json": JSON.stringify({ name: "echo", version: "1.0.0" }),
  "dockerfiles/db/Dockerfile": 'FROM node:26-alpine\nWORKDIR /app\nCOPY server.mjs .\nEXPOSE 5432\nCMD ["node", "server.mjs"]\n',
  "dockerfiles/db/container.json": JSON.stringify({ on_demand: true, tcp: true, shutdown_timeout: 0.05 }),
  "dockerfiles/db/server.mjs": SERVER,
};

async function openEcho(t: Test, env: Record<string, string> = {}): Promise<{ berth: Berth; data: string; port: number }> {
  const first = await freePort();
  const data = tempFolder(t);
  const berth = await startBerth({
    data,
    env: { BERTH_DRIVER: "process", BERTH_TCP_PORTS: `${first}-${first}`, BERTH_WATCHDOG_SECONDS: "0", ...env },
  });
  t.teardown(() => berth.stop());
  const answer = await berth.publish("echo", FILES);
  if (answer.status !== 200) throw new Error(await answer.text());
  const { address, port } = await eventually("the image to be ready", async () => {
    const entity = await berth.container("echo-db");
    return entity.dockerfile.status === "ready" ? entity : undefined;
  });
  t.strictSame({ address, port }, { address: "127.0.0.1", port: first }, "the entity's address is the listener's");
  return { berth, data, port: first };
}

/** Sends a text, ends its direction, and returns all that came. */
async function ask(port: number, text: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.setEncoding("utf8").end(text);
  let came = "";
  for await (const piece of socket) came += String(piece);
  return came;
}

t.test("connections wake a container, keep it awake while bytes move, and end when it sleeps", async (t) => {
  const log = join(tempFolder(t), "access.log");
  const { berth, port } = await openEcho(t, { BERTH_WORKERS: "2", BERTH_ACCESS_LOG: log });
  const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => ask(port, `hello ${index}`)));
  t.strictSame(
    answers,
    answers.map((_, index) => `hello ${index} over`),
  );
  const { id } = await berth.until("echo-db", ["started"]);
  const wakes = (await (await berth.call(`/docker/containers/${id}/wakes`)).json()) as { for: string; by: string | null }[];
  t.match(wakes, [{ for: "request", by: null }], "one start, for no user");

  const pooled = connect(port, "127.0.0.1").setEncoding("utf8");
  let came = "";
  pooled.on("data", (text: string) => void (came += text)).on("error", () => undefined);
  let isClosed = false;
  const closed = once(pooled, "close").then(() => (isClosed = true));
  const begun = performance.now();
  await eventually("it to be used for longer than its shutdown_timeout", async () => {
    pooled.write(".");
    if (isClosed) throw new Error("the connection was closed in use");
    return performance.now() - begun > 5_000;
  });
  t.match(await berth.container("echo-db"), { status: "started" });
  t.ok(came.length > 0);
  const open = (await (await berth.call(`/docker/containers/${id}/open`)).json()) as { open: { kind: string; login: string }[] }[];
  t.match(
    open.flatMap((gateway) => gateway.open),
    [{ kind: "tcp", login: "127.0.0.1" }],
  );

  await berth.until("echo-db", ["stopped by system"]);
  await closed;
  t.match(came, /^\.+ over$/, "what the container sent last has come");
  t.equal(await ask(port, "again"), "again over");

  const line = await eventually("the line of the access log", () =>
    readFileSync(log, "utf8")
      .split("\n")
      .flatMap((text) => (text === "" ? [] : [JSON.parse(text) as Record<string, unknown>]))
      .find(({ route, bytesOut }) => route === "tcp" && bytesOut === came.length),
  );
  t.match(line, { container: "echo-db", status: 101, bytesIn: came.length - " over".length, peer: "127.0.0.1" });
  t.equal((await berth.call(`/docker/containers/proxy/${id}/`)).status, 400);
  const explained = (await (await berth.call(`/docker/containers/${id}/explain`)).json()) as { tcp: object };
  t.match(explained.tcp, { address: "127.0.0.1", port });
});

t.test("connections outlive control, and a killed container or gateway does not keep its port", async (t) => {
  const { berth, data, port } = await openEcho(t, { BERTH_WORKERS: "2" });
  t.equal(await ask(port, "x"), "x over");
  const warm = connect(port, "127.0.0.1").setEncoding("utf8");
  warm.on("error", () => undefined).write("one");
  t.equal(String((await once(warm, "data"))[0]), "one");

  const { control: [control = 0] = [], gateway: [gateway = 0] = [] } = rolesBelow(berth.pid);
  process.kill(control, "SIGSTOP");
  t.teardown(() => isAlive(control) && process.kill(control, "SIGCONT"));
  warm.write("two");
  t.equal(String((await once(warm, "data"))[0]), "two");
  t.equal(await ask(port, "new"), "new over", "a new connection to a container that is awake");
  process.kill(control, "SIGCONT");

  process.kill(gateway, "SIGKILL");
  // Until then the kernel may still give it connections, which end with it.
  await eventually("the gateway to be gone", () => !isAlive(gateway));
  t.equal(await eventually("an answer of the other gateway", () => ask(port, "y").catch(() => undefined)), "y over");

  const held = connect(port, "127.0.0.1").setEncoding("utf8");
  held.write("held");
  await once(held, "data");
  const [killed = 0] = workingIn(join(data, "berth-data"));
  t.ok(killed > 0, "the container's process");
  process.kill(killed, "SIGKILL");
  await once(held, "close").catch(() => undefined);
  t.equal(await eventually("an answer of the next instance", () => ask(port, "z").catch(() => undefined)), "z over");
});
