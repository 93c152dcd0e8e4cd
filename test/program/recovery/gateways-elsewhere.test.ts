import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startBerth } from "../../fixtures/berth.ts";
import { makeCertificate } from "../../fixtures/certificates.ts";
import { openEngine, startsOf } from "../../fixtures/engine.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { freePort } from "../../fixtures/server.ts";
import { ask, type GatewayElsewhere, openGatewayElsewhere, openLoad } from "./gateway-elsewhere.ts";
import { ENV } from "./own-network.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { pause } from "../../fixtures/clock.ts";

/**
 * Three gateways on three machines, which are networks of their own here, one control plane, and containers of a real engine at published ports:
 * what happens when a machine dies, a cable is pulled, or control is away.
 */
t.setTimeout(180_000);

const CUT_MS = 60_000;
/** How long a container may be idle, in the minutes of container.json: 3 s. */
const SHORT = 0.05;

const engine = openEngine();
const images = await buildTestImages(engine.docker, ["onDemand", "slow"]);
const data = tempFolder(t);

// Where control and containers are, which the gateways reach over their cables: two addresses, so that one can be lost without the other.
const block = process.pid % 250;
const [control, containers] = [`10.211.${block}.1`, `10.211.${block}.2`];
for (const address of [control, containers]) {
  execFileSync("ip", ["address", "add", `${address}/32`, "dev", "lo"], { env: ENV });
  t.teardown(() => execFileSync("ip", ["address", "del", `${address}/32`, "dev", "lo"], { env: ENV }));
}
const files = { cert: join(data, "entrance.crt"), key: join(data, "entrance.key") };
const made = makeCertificate(data, "control", undefined, `IP:${control}`);
writeFileSync(files.cert, made.cert);
writeFileSync(files.key, made.key);

const port = String(await freePort());
const env = {
  BERTH_DRIVER: "docker",
  BERTH_DOCKER_NETWORK: `berth-elsewhere-${process.pid}`,
  BERTH_DOCKER_PUBLISH_HOST: containers,
  GROK_SPAWNER_ENVIRONMENT: `elsewhere-${process.pid}`,
  BERTH_GATEWAYS_HOST: control,
  BERTH_GATEWAYS_PORT: port,
  BERTH_GATEWAYS_TLS_CERT: files.cert,
  BERTH_GATEWAYS_TLS_KEY: files.key,
};
let berth = await startBerth({ data, env });
t.teardown(async () => {
  await berth.stop();
  const left = await engine.docker.listContainers({ all: true, filters: { label: [`berth.environment=${env.GROK_SPAWNER_ENVIRONMENT}`] } });
  await Promise.all(left.map((one) => engine.docker.getContainer(one.Id).remove({ force: true })));
  await engine.docker.getNetwork(env.BERTH_DOCKER_NETWORK).remove();
});

const token = execFileSync(process.execPath, [join(import.meta.dirname, "../../../berth.ts"), "gateways", "token"], {
  env: { PATH: process.env["PATH"], BERTH_DATA: join(data, "berth-data") },
  encoding: "utf8",
}).trim();
const joined = { BERTH_CONTROL: `https://${control}:${port}`, BERTH_CONTROL_TOKEN: token, BERTH_CONTROL_CA: files.cert };
const gateways: GatewayElsewhere[] = [];
for (const nth of [0, 1, 2]) gateways.push(await openGatewayElsewhere(t, nth, joined));
const [first, second, third] = gateways as [GatewayElsewhere, GatewayElsewhere, GatewayElsewhere];

const folder = (image: string, more: object = {}) => JSON.stringify({ image, port: 15353, on_demand: true, ...more });
const published = await berth.publish("far", {
  "package.json": JSON.stringify({ name: "far", version: "1.0.0" }),
  "dockerfiles/warm/container.json": folder(images.slow),
  "dockerfiles/asleep/container.json": folder(images.onDemand),
  "dockerfiles/removed/container.json": folder(images.onDemand),
  "dockerfiles/idle/container.json": folder(images.onDemand, { shutdown_timeout: SHORT }),
});
if (published.status !== 200) throw new Error(await published.text());
const idOf = async (name: string) =>
  eventually(`${name} to be ready`, async () => {
    const { id, dockerfile } = await berth.container(`far-${name}`);
    return dockerfile.status === "ready" ? id : undefined;
  });
const [warm, asleep, removed, idle] = await Promise.all(["warm", "asleep", "removed", "idle"].map(idOf));
const at = (gateway: { base(): string }, id = "", path = "/square?number=4") => `${gateway.base()}/api/docker/containers/proxy/${id}${path}`;
const statusAt = async (...of: Parameters<typeof at>) => (await ask(at(...of), berth.token)).status;
/** What a gateway logs. */
const AWAY = /control is away: known containers are served/;
const codeIn = (body: string) => /CONTROL_AWAY|control plane/i.test(body);

t.test("hundreds of requests at once, through three gateways, start a container once", async (t) => {
  const pending = Array.from({ length: 300 }, (_, nth) => statusAt(gateways[nth % 3] ?? first, warm));
  const statuses = await Promise.all(pending);
  t.same(new Set(statuses), new Set([200]));
  t.equal(await startsOf(engine.docker, warm ?? ""), 1);
  t.equal((await ask(`${second.base()}/api/users/current`, berth.token)).status, 200, "what is for no container is for control's API");
  t.equal((await ask(`${second.base()}/feed`, berth.token)).status, 404, "and its feed is for no client");
});

t.test("with one gateway killed and one cut off for a minute, no other gateway notices, and both serve right again", async (t) => {
  t.equal(await statusAt(second, removed), 200);
  const key = await (await berth.call("/users/admin/keys", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" })).json();
  const login = await fetch(`${berth.api}/users/login/dev?administration=true`, {
    method: "POST",
    headers: { authorization: `Dev ${(key as { key: string }).key}` },
  });
  const { token: session } = (await login.json()) as { token: string };
  for (let n = 0; n < 8; n++) t.equal((await ask(at(second, warm), session)).status, 200);

  const load = openLoad(at(third, warm), berth.token);
  second.cut();
  const cutAt = performance.now();
  await first.kill();
  // What the cut-off gateway will find changed.
  t.equal((await berth.call(`/docker/containers/${removed}`, { method: "DELETE" })).status, 200);
  t.equal((await berth.call(`/users/admin/keys/${(key as { id: string }).id}`, { method: "DELETE" })).status, 200);
  await first.start();
  t.equal(await statusAt(first, warm), 200);
  const others = openLoad(at(first, warm), berth.token);

  // Meanwhile the third loses control alone: it knows its callers and its containers.
  t.equal(await statusAt(third, idle), 200);
  const held = ask(at(third, idle, "/slow-head?ms=20000"), berth.token);
  await pause(1_500);
  third.lose(control);
  await eventually("it to notice", async () => AWAY.test(third.output()));
  const refused = await ask(at(third, asleep), berth.token);
  t.match([refused.status, refused.body], [503, /control plane/i], "nothing is woken");
  t.equal((await held).status, 200, "a container is not stopped under a request of a gateway that control has lost");
  t.match(berth.output(), /gateway silent/);
  third.find(control);
  await eventually("it to join again", async () => (await statusAt(third, asleep)) === 200);
  t.equal(await startsOf(engine.docker, idle ?? ""), 1);

  await new Promise((resolve) => setTimeout(resolve, Math.max(0, CUT_MS - (performance.now() - cutAt))));
  await t.rejects(ask(at(second, warm), berth.token), "no request reached the one that was cut off");
  t.match(second.output(), AWAY);
  second.mend();
  const mended = performance.now();
  await eventually("the one that was cut off to serve", async () => (await statusAt(second, removed).catch(() => 0)) === 404);
  t.comment(`it had joined again after ${Math.round(performance.now() - mended)} ms`);
  t.equal(await statusAt(second, warm), 200);
  await eventually("it to refuse the revoked session", async () => (await ask(at(second, warm), session)).status === 401);
  await Promise.all([load.end(), others.end()]);
  t.same([...load.failures, ...others.failures], []);
  t.comment(`${load.served()} and ${others.served()} requests were served meanwhile`);
  t.equal(await startsOf(engine.docker, warm ?? ""), 1);
});

t.test("a control plane that is killed and started again is missed by no request of a container that runs", async (t) => {
  await (await berth.call(`/docker/containers/${asleep}/stop?awaitStop=true`)).text();
  const loads = gateways.map((gateway) => openLoad(at(gateway, warm), berth.token));
  // Each has looked up the caller before: an unknown session has no user while control is away.
  await Promise.all(gateways.map((gateway) => ask(at(gateway, warm), berth.token)));
  await berth.kill();
  for (const gateway of gateways) {
    const { status, body } = await ask(at(gateway, asleep), berth.token);
    t.match([status, codeIn(body)], [503, true], "a wake fails clearly");
  }
  const before = berth.token;
  berth = await startBerth({ data, env });
  await Promise.all(
    gateways.map((gateway) => eventually("a gateway to have joined again", async () => (await ask(at(gateway, asleep), before)).status === 200)),
  );
  await Promise.all(loads.map((load) => load.end()));
  t.same(
    loads.flatMap(({ failures }) => failures),
    [],
  );
  t.ok(loads.every((load) => load.served() > 20));
  t.equal(await startsOf(engine.docker, warm ?? ""), 1);
});
