import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { ADMIN_KEY, openClient } from "../fixtures/berth.ts";
import { addressOf, joinWhenReady, leaveAndEnd, openHeadlessService, openPods, openService, type PodProcess } from "../fixtures/cluster/pods.ts";
import { runningServices } from "../fixtures/control-cluster.ts";
import { eventually } from "../fixtures/eventually.ts";
import { startPostgres } from "../fixtures/postgres.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { podTemplates } from "./chart-pods.ts";
import { render } from "./chart.ts";

t.setTimeout(480_000);

const DATABASE = "stand-database";
const SQUARE = readFileSync(join(import.meta.dirname, "../../conf/demo/dockerfiles/square/server.mjs"));
const EDGE = addressOf(201);
/** Between two requests of one client: enough of them to meet each moment, without the whole of a processor that other tests share. */
const PAUSE_MS = 10;

/** As helm-upgrade.test.ts, with PostgreSQL: two control processes, of which one leads, and the process driver's records, which stand for the cluster. */
t.test("an upgrade with a database refuses no request, also none that needs control", async (t) => {
  const folder = tempFolder(t);
  const postgres = await (await startPostgres(t)).database();
  const processes = join(folder, "shared", "processes");
  mkdirSync(processes, { recursive: true, mode: 0o700 });
  t.teardown(() => {
    for (const pid of [...runningServices(folder).values()].flat()) process.kill(pid, "SIGKILL");
  });
  const rendered = await render({
    drainDelaySeconds: 2,
    database: { existingSecret: DATABASE },
    spawner: { enabled: false },
    grokRegistryProxy: { enabled: false },
    secret: { data: { BERTH_ADMIN_KEY: ADMIN_KEY } },
  });
  const { templateOf, secret } = podTemplates("objects" in rendered ? rendered.objects : []);
  const names = join(folder, "control.json");
  const pods = openPods(t, {
    folder,
    services: { "stand.ns.svc": EDGE, "stand-control.ns.svc": { file: names } },
    secret: (name) => (name === DATABASE ? { url: postgres.url } : secret(name)),
    replaced: { BERTH_DRIVER: "process" },
    shared: { "/var/lib/berth/data/processes": processes },
  });
  const edge = await openService(t, { address: EDGE, port: 8080 });
  const dns = openHeadlessService(names);
  const startControl = async () => {
    const control = pods.start(templateOf("control"));
    await joinWhenReady(control, dns);
    return control;
  };
  let controls = [await startControl(), await startControl()];
  const isLeader = async (pod: PodProcess) => (await pod.statusOf("/readyz")) === 200;
  const leader = () =>
    eventually("a leader", async () => {
      const leading = await Promise.all(controls.map(isLeader));
      return controls[leading.indexOf(true)];
    });
  await leader();
  let gateways = [pods.start(templateOf("gateway")), pods.start(templateOf("gateway"))];
  await Promise.all(gateways.map((gateway) => joinWhenReady(gateway, edge)));
  const output = () => [...controls, ...gateways].map((pod) => pod.output().slice(-2_000)).join("\n---\n");
  const client = await openClient({ base: `http://${EDGE}:8080`, key: ADMIN_KEY, output });
  const folders = ["warm", "first", "second"].flatMap((name) => [
    [`dockerfiles/${name}/Dockerfile`, 'FROM node\nEXPOSE 8000\nCMD ["node", "server.mjs"]\n'],
    [`dockerfiles/${name}/container.json`, JSON.stringify({ on_demand: true })],
    [`dockerfiles/${name}/server.mjs`, SQUARE],
  ]);
  t.equal((await client.publish("app", { "package.json": '{"name":"app","version":"1.0.0"}', ...Object.fromEntries(folders) })).status, 200);
  const pathOf = async (name: string) => `/docker/containers/proxy/${(await client.until(`app-${name}`, ["stopped by system"])).id}/square?number=4`;
  const [warm, first, second] = [await pathOf("warm"), await pathOf("first"), await pathOf("second")];
  t.equal((await client.call(warm)).status, 200);

  const wrong: string[] = [];
  let served = 0;
  const ending = new AbortController();
  const load = async (path: string) => {
    while (!ending.signal.aborted) {
      const outcome = await client.call(path).then(
        async (response) => (await response.text(), response.status),
        (error: Error) => `${error.message}: ${String((error.cause as Error | undefined)?.message)}`,
      );
      if (outcome === 200) served++;
      else wrong.push(`${path}: ${outcome}`);
      await pause(PAUSE_MS);
    }
  };
  const loads = [load(warm), load(warm), load("/users/current")];
  const progress = async () => {
    const before = served;
    await eventually("requests to be served", () => served > before + 20);
  };

  /** RollingUpdate, maxSurge 1, maxUnavailable 0. A request that needs a start waits while the old pod ends. */
  const replaceControl = async (old: PodProcess, sleeping: string) => {
    const next = await startControl();
    const [ended, response] = await Promise.all([old.terminate(), client.call(sleeping)]);
    dns.remove(old.address);
    controls = [...controls.filter((one) => one !== old), next];
    t.equal(ended, 0);
    t.equal(response.status, 200, "a request that needs a start");
    await progress();
  };
  const old = await leader();
  const standby = controls.find((one) => one !== old) as PodProcess;
  await replaceControl(standby, first);
  await replaceControl(old, second);
  for (const gateway of gateways) {
    const next = pods.start(templateOf("gateway"));
    await joinWhenReady(next, edge);
    const [ended] = await Promise.all([leaveAndEnd(gateway, edge), progress()]);
    t.equal(ended, 0);
    gateways = [...gateways.filter((one) => one !== gateway), next];
  }
  ending.abort();
  await Promise.all(loads);
  t.same(wrong, [], `of ${served} requests`);
});
