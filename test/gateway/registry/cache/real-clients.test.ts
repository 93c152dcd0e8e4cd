import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../../../lib/clock.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { ENV } from "../../../program/recovery/own-network.ts";
import { openPodman } from "../podman.ts";
import { run } from "../run.ts";
import { DEV_KEY } from "../token-server.ts";
import { type Hub, openHub } from "./hub.ts";
import { openCached } from "./open-cached.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../../../docs/registry-cache.md"), "utf8");
/** The page's configuration of a client, for the registry proxy of a test. */
const configured = (language: string, nth: number, host: string) =>
  ([...PAGE.matchAll(/```(\w+)\n(.*?)```/gs)].flatMap(([, of, text = ""]) => (of === language ? [text] : []))[nth] ?? "").replace(
    /(https:\/\/)?(?:registry|hub)\.example:5000/g,
    (_, scheme) => `${scheme === undefined ? "" : "http://"}${host}`,
  );

const FRESH_MS = 3_600_000;

/** A layer with one file, as an engine unpacks it. */
function tarOf(t: Test, text: string): Buffer {
  const folder = tempFolder(t);
  writeFileSync(join(folder, text.replaceAll(" ", "-")), text.repeat(1_000));
  return execFileSync("tar", ["-cf", "-", "-C", folder, "."]);
}

/** The cache as a mirror, and the image `nginx:1.27` behind it, for two kinds of machines. */
async function openMirror(t: Test, options: { anonymousPull: boolean } = { anonymousPull: true }) {
  const hub = await openHub(t);
  const digest = await hub.pushIndex("library/nginx", "1.27", tarOf(t, "layer one"), tarOf(t, "layer two"));
  let aheadMs = 0;
  const clock = { ...systemClock(), now: () => Date.now() + aheadMs };
  const { port } = await openCached(t, hub, { ...options, mirrorHost: "127.0.0.1", freshMs: FRESH_MS, clock });
  return { hub, digest, port, expireTags: () => void (aheadMs += 2 * FRESH_MS) };
}

/** What every client does: it pulls through the cache, again from the cache alone, and once more beyond the limit of pulls, which the tag's new image would take. */
async function pullThrice(
  t: Test,
  { hub, digest, expireTags }: { hub: Hub; digest: string; expireTags(): void },
  client: { pull(): Promise<{ code: number | null; output: string }>; digest(): Promise<string>; remove(): Promise<void> },
): Promise<void> {
  const pulled = await client.pull();
  t.equal(pulled.code, 0, pulled.output);
  t.equal(await client.digest(), digest);
  t.equal(hub.requests.filter((request) => request.includes("/blobs/")).length, 3, "two layers and a configuration");
  t.equal(hub.requests.filter((request) => request.startsWith("GET") && request.includes("/manifests/")).length, 2, "an index and a manifest");

  await client.remove();
  hub.requests.length = 0;
  const again = await client.pull();
  t.equal(again.code, 0, again.output);
  t.equal(await client.digest(), digest);
  t.same(hub.requests, [], "the second pull does not reach Docker Hub");

  await client.remove();
  expireTags();
  await hub.pushIndex("library/nginx", "1.27", tarOf(t, "layer three"));
  hub.remaining = 0;
  const limited = await client.pull();
  t.equal(limited.code, 0, limited.output);
  t.equal(await client.digest(), digest, "the last copy, as long as pulls are limited");
  t.ok(
    hub.requests.some((request) => request.startsWith("GET") && request.includes("/manifests/")),
    "it was refused a pull",
  );
}

/** A program of the test's own, until its end. */
function start(t: Test, program: string, args: readonly string[], logFile: string) {
  const log = openSync(logFile, "a");
  const child = spawn("setpriv", ["--pdeathsig=TERM", program, ...args], { stdio: ["ignore", log, log], env: ENV });
  closeSync(log);
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
  });
  const requireAlive = () => {
    if (child.exitCode !== null) throw new Error(`${program} ended:\n${readFileSync(logFile, "utf8").slice(-4_000)}`);
  };
  return { requireAlive };
}

/** Of the engine that the tests share. */
const OTHERS_BRIDGE = "/sys/class/net/docker0";

/** A bridge for one engine, by its name. */
function addBridge(t: Test): string {
  const name = `mirror${process.pid}`;
  const ip = (...args: string[]) => void execFileSync("ip", args, { env: ENV, stdio: ["ignore", "ignore", "inherit"] });
  ip("link", "add", name, "type", "bridge");
  t.teardown(() => ip("link", "delete", name));
  ip("address", "add", "10.213.0.1/24", "dev", name);
  return name;
}

/** A Docker engine with the page's `daemon.json`. With `bridge: "none"` it would remove `docker0`, another engine's. */
async function openMirroredEngine(t: Test, mirror: string, more: Record<string, unknown> = {}) {
  const folder = tempFolder(t);
  const config = join(folder, "daemon.json");
  const page = JSON.parse(configured("json", 0, mirror)) as Record<string, unknown>;
  writeFileSync(config, JSON.stringify({ ...page, bridge: addBridge(t), iptables: false, ip6tables: false, ...more }));
  const host = `unix://${join(folder, "docker.sock")}`;
  const folders = ["data", "exec"].map((name) => `--${name}-root=${join(folder, name)}`);
  const args = [`--config-file=${config}`, `--host=${host}`, ...folders, `--pidfile=${join(folder, "pid")}`];
  const { requireAlive } = start(t, "dockerd", args, join(folder, "log"));
  const docker = (...words: string[]) => run("docker", words, { env: { DOCKER_HOST: host, DOCKER_CONFIG: folder } });
  await eventually(
    "the engine",
    async () => {
      requireAlive();
      return (await docker("version")).code === 0;
    },
    180_000,
  );
  return docker;
}

for (const [store, more] of Object.entries({ "its own store": {}, "the store of containerd": { features: { "containerd-snapshotter": true } } }))
  t.test(`docker pulls through the mirror of its daemon.json, with ${store}`, async (t) => {
    const before = existsSync(OTHERS_BRIDGE);
    const mirror = await openMirror(t);
    const docker = await openMirroredEngine(t, `127.0.0.1:${mirror.port}`, more);
    await pullThrice(t, mirror, {
      pull: () => docker("pull", "nginx:1.27"),
      digest: async () =>
        (await docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", "nginx:1.27")).output.trim().replace("nginx@", ""),
      remove: async () => void t.match(await docker("image", "rm", "-f", "nginx:1.27"), { code: 0 }),
    });
    t.equal(existsSync(OTHERS_BRIDGE), before, "the other engine here still has its bridge");
  });

t.test("containerd pulls through the mirror of its hosts.toml", async (t) => {
  const mirror = await openMirror(t);
  const folder = tempFolder(t);
  const socket = join(folder, "containerd.sock");
  const hosts = join(folder, "certs.d/docker.io");
  mkdirSync(hosts, { recursive: true });
  // Not the host of the mirror: containerd names the upstream itself.
  writeFileSync(join(hosts, "hosts.toml"), configured("toml", 1, `localhost:${mirror.port}`));
  const config = join(folder, "config.toml");
  writeFileSync(
    config,
    `version = 2
root = "${join(folder, "root")}"
state = "${join(folder, "state")}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "${socket}"
[ttrpc]
address = "${socket}.ttrpc"
`,
  );
  const { requireAlive } = start(t, "containerd", ["--config", config], join(folder, "log"));
  const ctr = (...words: string[]) => run("ctr", ["--address", socket, ...words], { env: ENV });
  await eventually("containerd", async () => {
    requireAlive();
    return (await ctr("version")).code === 0;
  });
  const image = "docker.io/library/nginx:1.27";
  await pullThrice(t, mirror, {
    pull: () => ctr("images", "pull", "--hosts-dir", join(folder, "certs.d"), "--snapshotter", "native", image),
    digest: async () => / (sha256:[0-9a-f]{64}) /.exec((await ctr("images", "ls", `name==${image}`)).output)?.[1] ?? "",
    remove: async () => void t.match(await ctr("images", "rm", "--sync", image), { code: 0 }),
  });
});

t.test("podman pulls through the mirror of its registries.conf, signed in at it", async (t) => {
  const mirror = await openMirror(t, { anonymousPull: false });
  const host = `127.0.0.1:${mirror.port}`;
  const folder = tempFolder(t);
  const registries = join(folder, "registries.conf");
  writeFileSync(registries, `${configured("toml", 0, host)}insecure = true\n`);
  const podman = openPodman(t, { CONTAINERS_REGISTRIES_CONF: registries });
  t.match(await podman("login", "--tls-verify=false", "-u", "any", "-p", DEV_KEY, host), { code: 0, output: /Login Succeeded/ });
  const image = "docker.io/library/nginx:1.27";
  await pullThrice(t, mirror, {
    pull: () => podman("pull", image),
    digest: async () => {
      const { output } = await podman("image", "inspect", "--format", '{{join .RepoDigests " "}}', image);
      return output.includes(mirror.digest) ? mirror.digest : output;
    },
    remove: async () => void t.match(await podman("rmi", "--force", image), { code: 0 }),
  });
});

t.test("skopeo copies through the mirror of its registries.conf, signed in at it", async (t) => {
  const mirror = await openMirror(t, { anonymousPull: false });
  const host = `127.0.0.1:${mirror.port}`;
  const folder = tempFolder(t);
  const registries = join(folder, "registries.conf");
  writeFileSync(registries, `${configured("toml", 0, host)}insecure = true\n`);
  const auth = join(folder, "auth.json");
  writeFileSync(auth, JSON.stringify({ auths: { [host]: { auth: Buffer.from(`any:${DEV_KEY}`).toString("base64") } } }));
  let pulls = 0;
  const skopeo = (...words: string[]) => run("skopeo", ["--insecure-policy", "--registries-conf", registries, ...words], { env: { TMPDIR: folder } });
  const image = "docker://docker.io/library/nginx:1.27";
  await pullThrice(t, mirror, {
    pull: () => skopeo("copy", "--all", "--src-authfile", auth, image, `dir:${join(folder, `out${++pulls}`)}`),
    digest: async () => {
      const manifest = (await run("skopeo", ["manifest-digest", join(folder, `out${pulls}`, "manifest.json")])).output;
      return manifest.trim();
    },
    remove: async () => undefined,
  });
});
