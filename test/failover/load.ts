import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type BerthClient, zipOf } from "../fixtures/berth.ts";
import { pause } from "../fixtures/clock.ts";
import { eventually } from "../fixtures/eventually.ts";
import type { FailoverCluster } from "./cluster.ts";

const DEMO = join(import.meta.dirname, "../../conf/demo/dockerfiles/square");

const LONG_AWAKE = JSON.stringify({ cpu: 0.25, memory: 128, on_demand: true, shutdown_timeout: 600 });

/** A package whose containers stay awake. `outside`: what runs them in the network where all reach them. */
function packageWith(name: string, folders: readonly string[], outside: readonly string[]): Record<string, string> {
  const contentOf = (file: string) => {
    if (file === "container.json") return LONG_AWAKE;
    const text = readFileSync(join(DEMO, file), "utf8");
    return file === "Dockerfile" ? text.replace(/^CMD .*$/m, `CMD ${JSON.stringify([...outside, "node", "server.mjs"])}`) : text;
  };
  const files = readdirSync(DEMO).map((file) => [file, contentOf(file)] as const);
  return {
    "package.json": JSON.stringify({ name, version: "1.0.0" }),
    ...Object.fromEntries(folders.flatMap((folder) => files.map(([file, text]) => [`dockerfiles/${folder}/${file}`, text]))),
  };
}

export type FailoverLoad = {
  warm: { sent: number; failed: string[] };
  wakes: { sent: number; failed: string[] };
  writes: { sent: number; acknowledged: number };
  /** Wakes a container that sleeps, and returns how long that took. The next probe has another container, put to sleep by `prepare`. */
  probe(): Promise<number>;
  prepare(): Promise<void>;
  /** Two containers that only late calls of the driver start and stop. */
  late: { start: string; stop: string };
  /** The status of a request to this container. */
  request(name: string): Promise<number>;
  /** What was acknowledged and is not there. */
  missing(): Promise<string[]>;
  stop(): Promise<void>;
};

const WARM = ["warm-a", "warm-b", "warm-c"];
const SLEEPERS = ["sleep-a", "sleep-b", "sleep-c", "sleep-d"];
const LATE = { start: "late-start", stop: "late-stop" };

/** Warm requests through every gateway, wakes, run and stop, new users and published packages, each as fast as it is answered, with a pause. */
export async function startLoad({ gateways, networks, query }: FailoverCluster): Promise<FailoverLoad> {
  const [first] = gateways;
  if (!first) throw new Error("no gateway");
  let turn = 0;
  const next = (): BerthClient => gateways[turn++ % gateways.length] ?? first;
  const names = [...WARM, ...SLEEPERS, LATE.start, LATE.stop];
  const reply = await first.publish("load", packageWith("load", names, networks.outside));
  if (reply.status !== 200) throw new Error(`publish: ${reply.status} ${await reply.text()}`);
  const ids = new Map<string, string>();
  for (const name of names) {
    const { id } = await eventually(name, async () => {
      const entity = await first.container(`load-${name}`);
      return entity.dockerfile.status === "ready" ? entity : undefined;
    });
    ids.set(name, id);
  }
  const proxied = (client: BerthClient, name: string) => client.call(`/docker/containers/proxy/${ids.get(name)}/square?number=4`);
  const warm: FailoverLoad["warm"] = { sent: 0, failed: [] };
  const wakes: FailoverLoad["wakes"] = { sent: 0, failed: [] };
  const writes = { sent: 0, acknowledged: 0 };
  const users: string[] = [];
  const packages: string[] = [];
  /** The last acknowledged desired state; undefined: a later request for another was not acknowledged. */
  const desired = new Map<string, number | undefined>();
  for (const name of [...WARM, LATE.stop]) if ((await proxied(first, name)).status !== 200) throw new Error(`${name} does not start`);

  const stopping = new AbortController();
  const loop = async (ms: number, work: () => Promise<void>) => {
    while (!stopping.signal.aborted) {
      await work().catch(() => undefined);
      await pause(ms);
    }
  };
  const post = (path: string, body: object) =>
    next().call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const acknowledged = async (request: Promise<Response>): Promise<boolean> => {
    writes.sent++;
    const isDone = await request.then(
      async (response) => (await response.text(), response.status === 200),
      () => false,
    );
    if (isDone) writes.acknowledged++;
    return isDone;
  };
  let made = 0;
  const loops = [
    ...gateways.map((client, at) =>
      loop(150, async () => {
        warm.sent++;
        const name = WARM[(at + warm.sent) % WARM.length] ?? "";
        const outcome = await proxied(client, name).then(
          async (response) => (response.status === 200 ? (await response.text(), undefined) : `${response.status} ${await response.text()}`),
          (error: Error) => String(error.cause ?? error),
        );
        if (outcome !== undefined) warm.failed.push(`${name}: ${outcome}`);
      }),
    ),
    loop(300, async () => {
      const login = `user-${made++}`;
      if (await acknowledged(post("/users", { login }))) users.push(login);
    }),
    loop(4_000, async () => {
      const name = `extra-${made++}`;
      const body = await zipOf(packageWith(name, ["app"], networks.outside));
      const request = fetch(`${next().api}/packages/dev/${name}`, { method: "POST", headers: { authorization: `Dev ${first.key}` }, body });
      if (await acknowledged(request)) packages.push(name);
    }),
    loop(700, async () => {
      // Only this loop changes the last one.
      const name = SLEEPERS.at(-1) ?? "";
      const want = desired.get(name) === 1 ? 0 : 1;
      desired.set(name, undefined);
      if (
        await acknowledged(
          next().call(`/docker/containers/${ids.get(name)}/${want === 1 ? "run" : "stop"}?await${want === 1 ? "Start" : "Stop"}=false`),
        )
      )
        desired.set(name, want);
    }),
  ];

  let probes = 0;
  return {
    warm,
    wakes,
    writes,
    prepare: async () => {
      const name = SLEEPERS[probes % (SLEEPERS.length - 1)] ?? "";
      await eventually(`${name} sleeps`, async () => (await next().call(`/docker/containers/${ids.get(name)}/stop?awaitStop=true`)).status === 200);
    },
    probe: async () => {
      const name = SLEEPERS[probes++ % (SLEEPERS.length - 1)] ?? "";
      const from = performance.now();
      wakes.sent++;
      const response = await proxied(next(), name);
      const text = await response.text();
      if (response.status !== 200) wakes.failed.push(`${name}: ${response.status} ${text}`);
      return performance.now() - from;
    },
    late: LATE,
    request: async (name) => (await proxied(next(), name)).status,
    missing: async () => {
      // Those that are acknowledged meanwhile are for the next check.
      const [logins, published] = [[...users], [...packages]];
      const [userRows, packageRows] = [await query("SELECT login AS name FROM users"), await query("SELECT name FROM packages")];
      const [knownUsers, knownPackages] = [userRows, packageRows].map((rows) => new Set(rows.map((row) => String(row["name"]))));
      const lost = [...logins.filter((login) => !knownUsers?.has(login)), ...published.filter((name) => !knownPackages?.has(name))];
      for (const [name, want] of desired) {
        if (want === undefined) continue;
        const [row] = await query(`SELECT desired_instances::int AS instances FROM containers WHERE id = '${ids.get(name)}'`);
        // A request may have been sent meanwhile.
        if (desired.get(name) === want && row?.["instances"] !== want) lost.push(`${name}: ${String(row?.["instances"])} instead of ${want}`);
      }
      return lost;
    },
    stop: async () => {
      stopping.abort();
      await Promise.all(loops);
    },
  };
}
