import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type BerthClient, zipOf } from "../fixtures/berth.ts";
import { pause } from "../fixtures/clock.ts";
import { eventually } from "../fixtures/eventually.ts";
import type { FailoverCluster } from "./cluster.ts";

const DEMO = join(import.meta.dirname, "../../conf/demo/dockerfiles/square");

const LONG_AWAKE = JSON.stringify({ cpu: 0.25, memory: 128, on_demand: true, shutdown_timeout: 600 });

/** A package whose containers stay awake. They run in the network where all reach them, and note each other instance. */
function packageWith(name: string, folders: readonly string[], { networks, instances }: FailoverCluster): Record<string, string> {
  const contentOf = (folder: string, file: string) => {
    if (file === "container.json") return LONG_AWAKE;
    const text = readFileSync(join(DEMO, file), "utf8");
    const command = [...instances.command(`${name}-${folder}`), ...networks.outside, "node", "server.mjs"];
    return file === "Dockerfile" ? text.replace(/^CMD .*$/m, `CMD ${JSON.stringify(command)}`) : text;
  };
  const files = readdirSync(DEMO);
  return {
    "package.json": JSON.stringify({ name, version: "1.0.0" }),
    ...Object.fromEntries(folders.flatMap((folder) => files.map((file) => [`dockerfiles/${folder}/${file}`, contentOf(folder, file)]))),
  };
}

/** Of the files of a container's folder, by their names. */
function digestOf(files: Iterable<readonly [name: string, content: string | Buffer]>): string {
  const hash = createHash("sha256");
  for (const [name, content] of [...files].toSorted(([a], [b]) => (a < b ? -1 : 1))) hash.update(`${name}\0`).update(content).update("\0");
  return hash.digest("hex");
}

/** What control adds to the published files. */
const IMAGE_FILE = "image.json";
/** The longest until a container answers whose package was published just before a fault. */
const WAKE_MS = 30_000;

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
  /** Publishes a package, again until that is acknowledged. */
  publish(): Promise<void>;
  /** Wakes the container of the last one, whose files the leader may not have, and stops it. Returns what is wrong. */
  wakePublished(): Promise<string[]>;
  /** What was acknowledged and is not there, as it was sent. */
  missing(): Promise<string[]>;
  stop(): Promise<void>;
};

const WARM = ["warm-a", "warm-b", "warm-c"];
const SLEEPERS = ["sleep-a", "sleep-b", "sleep-c", "sleep-d"];
const LATE = { start: "late-start", stop: "late-stop" };

/** Warm requests through every gateway, wakes, run and stop, new users and published packages, each as fast as it is answered, with a pause. */
export async function startLoad(cluster: FailoverCluster): Promise<FailoverLoad> {
  const { gateways, query } = cluster;
  const [first] = gateways;
  if (!first) throw new Error("no gateway");
  let turn = 0;
  const next = (): BerthClient => gateways[turn++ % gateways.length] ?? first;
  const names = [...WARM, ...SLEEPERS, LATE.start, LATE.stop];
  const reply = await first.publish("load", packageWith("load", names, cluster));
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
  /** By their names, the digests of the files of their one container. */
  const packages = new Map<string, string>();
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
  const prefix = "dockerfiles/app/";
  /** Returns the package's name, if it was acknowledged. */
  const publish = async (): Promise<string | undefined> => {
    const name = `extra-${made++}`;
    const files = packageWith(name, ["app"], cluster);
    const body = await zipOf(files);
    const request = fetch(`${next().api}/packages/dev/${name}`, { method: "POST", headers: { authorization: `Dev ${first.key}` }, body });
    if (!(await acknowledged(request))) return undefined;
    const ofContainer = Object.entries(files).filter(([path]) => path.startsWith(prefix));
    packages.set(name, digestOf(ofContainer.map(([path, text]) => [path.slice(prefix.length), text])));
    return name;
  };
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
    loop(4_000, async () => void (await publish())),
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

  let published = "";
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
    publish: async () => {
      published = await eventually("a package is published", publish);
    },
    wakePublished: async () => {
      let last = "no answer";
      const wake = async () => {
        const { id } = await next().container(`${published}-app`);
        const response = await next().call(`/docker/containers/proxy/${id}/square?number=4`);
        last = `${response.status} ${await response.text()}`;
        if (response.status === 200) return id;
        return undefined;
      };
      const id = await eventually(
        "the published container answers",
        () => wake().catch((error: unknown) => void (last = String(error))),
        WAKE_MS,
      ).catch(() => undefined);
      if (id === undefined) return [`${published}, published just before the fault, does not start: ${last}`];
      await eventually(
        "the published container stops",
        async () => (await next().call(`/docker/containers/${id}/stop?awaitStop=true`)).status === 200,
      );
      return [];
    },
    missing: async () => {
      // Those that are acknowledged meanwhile are for the next check.
      const [logins, sent] = [[...users], [...packages]];
      const names = new Set((await query("SELECT login FROM users")).map((row) => String(row["login"])));
      const stored = await storedPackages(query);
      const lost = [
        ...logins.filter((login) => !names.has(login)),
        ...sent.filter(([name, digest]) => stored.get(name) !== digest).map(([name]) => `${name}${stored.has(name) ? " has other files" : ""}`),
      ];
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

/** By the names of packages, the digests of their containers' files as the database has them. */
async function storedPackages(query: FailoverCluster["query"]): Promise<Map<string, string>> {
  const rows = await query(`SELECT p.name, f.path, encode(string_agg(f.bytes, ''::bytea ORDER BY f.part), 'hex') AS bytes
    FROM packages p JOIN images i ON i.package_id = p.id JOIN published_files f ON f.folder = i.files
    WHERE p.name LIKE 'extra-%' GROUP BY p.name, f.path`);
  const byPackage = Map.groupBy(rows, (row) => String(row["name"]));
  const fileOf = (row: Record<string, unknown>) => [String(row["path"]), Buffer.from(String(row["bytes"]), "hex")] as const;
  return new Map([...byPackage].map(([name, files]) => [name, digestOf(files.map(fileOf).filter(([path]) => path !== IMAGE_FILE))]));
}
