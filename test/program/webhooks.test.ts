import { once } from "node:events";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { type Berth, startBerth } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { rolesBelow } from "../fixtures/processes.ts";
import { freePort } from "../fixtures/server.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openReceiver } from "../control/webhooks/fixtures/open-receiver.ts";

const ROOT = join(import.meta.dirname, "../..");
const PAGE = readFileSync(join(ROOT, "docs/webhooks.md"), "utf8");
const SECRET = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
const FILES = {
  "package.json": JSON.stringify({ name: "web", version: "1.0.0" }),
  "dockerfiles/app/Dockerfile": 'FROM node:26-alpine\nWORKDIR /app\nCOPY server.mjs .\nEXPOSE 5000\nCMD ["node", "server.mjs"]\n',
  "dockerfiles/app/container.json": JSON.stringify({ on_demand: true, env: { HUSH: "hush-hush" } }),
  "dockerfiles/app/server.mjs": `
    import { createServer } from "node:http";
    process.on("SIGTERM", () => process.exit(0));
    createServer((request, response) => response.end("ok")).listen(Number(process.env.PORT ?? 5000));
  `,
};

function blockOf(language: string): string {
  const block = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, "s").exec(PAGE)?.[1];
  if (block === undefined) throw new Error(`docs/webhooks.md has no block of ${language}`);
  return block;
}

async function serve(t: Test, data = tempFolder(t)): Promise<Berth> {
  const berth = await startBerth({ data, env: { BERTH_DRIVER: "process", BERTH_WORKERS: "1" } });
  t.teardown(() => berth.stop());
  return berth;
}

async function publish(berth: Berth): Promise<string> {
  const response = await berth.publish("web", FILES);
  if (response.status !== 200) throw new Error(await response.text());
  const { id } = await eventually("the image", async () => {
    const entity = await berth.container("web-app");
    return entity.dockerfile.status === "ready" ? entity : undefined;
  });
  return id;
}

async function add(berth: Berth, url: string, events: string[] = []): Promise<string> {
  const body = JSON.stringify({ url, events, secret: SECRET });
  const response = await berth.call("/admin/webhooks", { method: "POST", headers: { "content-type": "application/json" }, body });
  if (response.status !== 200) throw new Error(await response.text());
  return ((await response.json()) as { id: string }).id;
}

t.test("the page's receiver and commands run as they are written", async (t) => {
  const berth = await serve(t);
  const port = String(await freePort());
  // Below the project, where its packages are.
  const folder = t.testdir();
  writeFileSync(join(folder, "receiver.mjs"), blockOf("js").replace("3000", port));
  const lines = blockOf("sh").replaceAll("./berth", join(ROOT, "berth")).replaceAll(":3000", `:${port}`).trim().split("\n");
  const env = { ...process.env, BERTH_SERVER: berth.base, BERTH_KEY: berth.key };
  const sh = promisify(execFile);
  const [secret = "", receive = "", ...commands] = lines;
  await sh("sh", ["-c", secret], { cwd: folder, env });
  const receiver: ChildProcess = spawn("sh", ["-c", `exec env ${receive.replace(/ &$/, "")}`], {
    cwd: folder,
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.teardown(() => receiver.kill());
  let printed = "";
  receiver.stdout?.on("data", (piece: Buffer) => (printed += piece.toString()));
  await eventually("the receiver listens", () =>
    fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: "{}" }).then(
      ({ status }) => status === 401,
      () => false,
    ),
  );
  const [added = "", tested = ""] = await commands.reduce<Promise<string[]>>(
    async (before, command) => [...(await before), (await sh("sh", ["-c", command], { cwd: folder, env })).stdout],
    Promise.resolve([]),
  );
  t.match(added, /^Added [0-9a-f]{8} for http/);
  t.match(tested, /^Delivered in \d+ ms: the receiver answered 204\./);
  await eventually("the test", () => printed.includes("ai.datagrok.berth.webhook.test"));
  await publish(berth);
  await eventually("the publish", () => /ai\.datagrok\.berth\.package\.published packages\/\S+ .*"containers":\["web-app"\]/.test(printed));
  t.notMatch(printed, /container\.starting|hush-hush/);

  const berthCommand = async (...args: string[]) => (await sh(join(ROOT, "berth"), ["webhooks", ...args], { env })).stdout;
  const url = `http://127.0.0.1:${port}/`;
  await eventually("delivered", async () => /delivered +package\.published/.test(await berthCommand("deliveries", url)));
  t.match(await berthCommand("ls"), /active +container\.failed,package\.\* +0 +0 +http/);
  const [, delivery = ""] = /^([0-9a-f]{8}) +delivered +package/m.exec(await berthCommand("deliveries", url)) ?? [];
  t.match(await berthCommand("redeliver", url, delivery), /^Queued package\.published of packages\//);
  receiver.kill();
  await once(receiver, "exit");
  await t.rejects(berthCommand("test", url), { code: 1, stdout: /^Not delivered: ECONNREFUSED/ });
  t.match(await berthCommand("rm", url), /^Removed http/);
  t.match(await berthCommand("ls"), /There is no webhook/);
});

t.test("kill -9 of control or of all of berth between a change and its delivery loses no event", async (t) => {
  const data = tempFolder(t);
  let berth = await serve(t, data);
  const port = await freePort();
  const id = await publish(berth);
  await add(berth, `http://127.0.0.1:${port}/events`, ["container.*"]);
  // No receiver yet: events wait in the store.
  await berth.call(`/docker/containers/${id}/run`);
  await berth.until("web-app", ["started"]);
  await berth.kill();
  const bodies: { id: string; type: string; sequence: string; data: { state: string } }[] = [];
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    bodies.push(JSON.parse(Buffer.concat(pieces).toString()) as (typeof bodies)[number]);
    response.writeHead(204).end();
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  berth = await serve(t, data);
  await eventually("started", () => bodies.some(({ data: { state } }) => state === "started"));
  const firstStates = bodies.map(({ data: { state } }) => state).filter((state, at, all) => all.indexOf(state) === at);
  t.strictSame(firstStates.slice(0, 3), ["pending start", "starting", "started"]);

  // The receiver has the event, and control dies before it learns so.
  const holding = await openReceiver(t);
  holding.answers(() => undefined);
  await add(berth, holding.url, ["container.stopping", "container.stopped"]);
  const stopped = berth.call(`/docker/containers/${id}/stop`).catch(() => undefined);
  await holding.count(1);
  const [control = 0] = rolesBelow(berth.pid)["control"] ?? [];
  process.kill(control, "SIGKILL");
  holding.answers((response) => void response.writeHead(204).end());
  await stopped;
  await eventually("another control process", () => (rolesBelow(berth.pid)["control"] ?? []).some((pid) => pid !== control));
  await eventually("stopped", () => holding.types().includes("container.stopped"));
  const [first] = holding.received;
  t.equal(holding.received.filter(({ event }) => event.id === first?.event.id).length, 2, "the same event, with the same id");
  holding.verify(SECRET);
  const unique = [...new Map(holding.received.map(({ event }) => [event.id, String(event["sequence"])])).values()];
  t.strictSame(unique.toSorted(), unique, "in order");
});

t.test("a publish, a return to an earlier version and an unpublish are events, without variables", async (t) => {
  const berth = await serve(t);
  const receiver = await openReceiver(t);
  await add(berth, receiver.url, ["package.*", "image.*"]);
  await publish(berth);
  const second = await berth.publish("web", { ...FILES, "package.json": JSON.stringify({ name: "web", version: "2.0.0" }) });
  t.equal(second.status, 200);
  const send = async (path: string, init: RequestInit) => {
    const response = await berth.call(path, init);
    t.equal(response.status, 200, await response.text());
  };
  await send("/packages/published/web/rollback", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
  await send("/packages/published/web", { method: "DELETE" });
  await eventually("unpublished", () => receiver.types().includes("package.unpublished"));
  t.strictSame(
    receiver.types().filter((type) => type.startsWith("package.")),
    ["package.published", "package.published", "package.rolledback", "package.unpublished"],
  );
  const rolledBack = receiver.received.find(({ event }) => event.type.endsWith("rolledback"))?.event.data;
  t.match(rolledBack, { package: { name: "web", version: "1.0.0" }, restores: 1, user: "admin" });
  t.ok(receiver.types().includes("image.ready"));
  receiver.verify(SECRET);
  t.notMatch(JSON.stringify(receiver.received), /hush-hush/);
});
