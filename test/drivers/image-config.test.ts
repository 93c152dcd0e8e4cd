import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import t, { type Test } from "tap";
import { systemClock } from "../../lib/clock.ts";
import { mayLead, readImageConfig } from "../../drivers/image-config.ts";
import { call, rejectsWith } from "./conformance.ts";
import { openWorld } from "./kubernetes/test-cluster.ts";
import { listen } from "../fixtures/server.ts";

/** A server that records its requests. */
async function openRecorder(t: Test, host: string, answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const requests: { path: string; authorization: string | undefined }[] = [];
  const server = createServer((request, response) => {
    requests.push({ path: request.url ?? "", authorization: request.headers.authorization });
    answer(request, response);
  });
  const { port } = await listen(t, server, { host });
  return { at: `${host}:${port}`, requests };
}

/** Something that is for this network alone, and that answers a secret as a token server answers a token. */
const openInternal = (t: Test) => openRecorder(t, "127.0.0.9", (_, response) => void response.end(JSON.stringify({ access_token: "of-the-inside" })));

const challenging = (realm: string) => (_: IncomingMessage, response: ServerResponse) =>
  void response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}",service="x"` }).end();
const leading = (location: string) => (_: IncomingMessage, response: ServerResponse) => void response.writeHead(307, { location }).end();

const read = (host: string, more: { trusted?: boolean; listed?: string[]; login?: () => Promise<{ username: string; password: string }> } = {}) =>
  readImageConfig({
    host,
    repository: "evil/x",
    version: "1",
    login: async () => undefined,
    trusted: false,
    listed: ["127.0.0.1"],
    clock: systemClock(),
    signal: AbortSignal.timeout(20_000),
    ...more,
  });

t.test("a registry over TLS leads nowhere without it", async (t) => {
  const leads = (from: string, to: string) => mayLead(new URL(from), new URL(to));
  t.equal(leads("https://r", "https://s3.amazonaws.com/x"), true);
  t.equal(leads("https://r", "http://169.254.169.254/latest"), false);
  t.equal(leads("https://r", "file:///etc/passwd"), false);
  t.equal(leads("http://127.0.0.1:5000", "http://127.0.0.1:5001"), true);
});

t.test("a registry that a package names cannot have control fetch a token from inside its network, and get it", async (t) => {
  const internal = await openInternal(t);
  const evil = await openRecorder(t, "127.0.0.1", challenging(`http://${internal.at}/internal/secret`));
  for (const trusted of [false, true]) await rejectsWith(t, "REGISTRY_UNREACHABLE", read(evil.at, { trusted }));
  t.same(internal.requests, []);
  t.notOk(evil.requests.some(({ authorization }) => authorization?.includes("of-the-inside")));
});

t.test("nor lead it there by a redirect", async (t) => {
  const internal = await openInternal(t);
  for (const location of [`http://${internal.at}/internal`, "http://169.254.169.254/latest/meta-data", "http://[::ffff:127.0.0.9]:1/x"]) {
    const evil = await openRecorder(t, "127.0.0.1", leading(location));
    await rejectsWith(t, "REGISTRY_UNREACHABLE", read(evil.at));
  }
  t.same(internal.requests, []);
});

t.test("nor be something of this machine itself", async (t) => {
  const internal = await openInternal(t);
  const localhost = `localhost:${internal.at.split(":")[1]}`;
  for (const host of [internal.at, localhost, "169.254.169.254", "[::1]:5000"]) await rejectsWith(t, "REGISTRY_UNREACHABLE", read(host));
  t.same(internal.requests, []);
  await read(internal.at, { trusted: true });
  t.equal(internal.requests.length, 1, "one that the settings name may be anywhere");
});

t.test("a login goes to no other port of the registry's host", async (t) => {
  const tokens = await openRecorder(t, "127.0.0.1", (_, response) => void response.end(JSON.stringify({ token: "given" })));
  const registry = await openRecorder(t, "127.0.0.1", challenging(`http://${tokens.at}/token`));
  await rejectsWith(t, "PULL_DENIED", read(registry.at, { login: async () => ({ username: "me", password: "secret" }) }));
  t.match(tokens.requests, [{ path: "/token?service=x&scope=repository%3Aevil%2Fx%3Apull", authorization: undefined }]);
  t.equal(registry.requests.at(-1)?.authorization, "Bearer given");
});

t.test("an image of such a registry is refused by a driver, which sends nothing there", async (t) => {
  const internal = await openInternal(t);
  const evil = await openRecorder(t, "127.0.0.1", challenging(`http://${internal.at}/internal/secret`));
  const { open } = await openWorld(t);
  const driver = open();
  await rejectsWith(t, "REGISTRY_UNREACHABLE", driver.resolve({ ref: `${evil.at}/evil/x:1` }, call()));
  await rejectsWith(t, "REGISTRY_UNREACHABLE", driver.resolve({ ref: `${internal.at}/evil/x:1` }, call()));
  t.same(internal.requests, []);
});

t.test("a registry that answers other types than the specification's is refused, or is taken for an image of which nothing is known", async (t) => {
  const AMD = { os: "linux", architecture: "amd64" };
  const answers = async (replies: Record<string, unknown>) =>
    openRecorder(t, "127.0.0.1", ({ url = "" }, response) => {
      const path = url.slice("/v2/evil/x/".length);
      response.writeHead(path in replies ? 200 : 404).end(JSON.stringify(replies[path]));
    });
  for (const manifest of [null, 5, "x"]) await rejectsWith(t, "REGISTRY_UNREACHABLE", read((await answers({ "manifests/1": manifest })).at));
  for (const entries of [[null], [5], [{ platform: null }], [{ platform: AMD }], [{ platform: AMD, digest: "../../secret" }]]) {
    const registry = await answers({ "manifests/1": { manifests: entries } });
    await rejectsWith(t, "IMAGE_NOT_FOUND", read(registry.at));
    t.equal(registry.requests.length, 1, "nothing else is requested");
  }
  for (const manifest of [
    { manifests: 5 },
    { manifests: {} },
    { config: 5 },
    { config: { digest: 5 } },
    { layers: [null, { size: "x" }], config: null },
  ])
    t.match(await read((await answers({ "manifests/1": manifest })).at), { exposed: { length: 0 }, command: { length: 0 } });
  const digest = `sha256:${"a".repeat(64)}`;
  for (const config of [
    { history: 5 },
    { history: [null, { created_by: 5 }], config: 5 },
    { config: { ExposedPorts: 5, Entrypoint: 5, Healthcheck: 5 } },
  ])
    t.match(await read((await answers({ "manifests/1": { config: { digest } }, [`blobs/${digest}`]: config })).at), { exposed: { length: 0 } });
  await rejectsWith(t, "REGISTRY_UNREACHABLE", read((await answers({ "manifests/1": { config: { digest } }, [`blobs/${digest}`]: null })).at));
  // Engines keep the first layer, JavaScript the second one.
  const repeated = await openRecorder(t, "127.0.0.1", (_, response) => void response.end('{"layers":[{"size":9}],"a":"\\"b\\":","layers":[{}]}'));
  await rejectsWith(t, "IMAGE_NOT_FOUND", read(repeated.at));
});

t.test(
  "a configuration of 35,000 ports, and as many others in its history, is read at once, and a larger one not at all",
  { timeout: 20_000 },
  async (t) => {
    const digest = `sha256:${"a".repeat(64)}`;
    const named = Array.from({ length: 400_000 }, (_, at) => at % 9_000).join(" ");
    const openWith = (count: number) => {
      const ports = Object.fromEntries(Array.from({ length: count }, (_, at) => [`${at + 10_000}/tcp`, {}]));
      const config = { config: { ExposedPorts: ports }, history: [{ created_by: `EXPOSE ${named}` }] };
      return openRecorder(t, "127.0.0.1", ({ url = "" }, response) => {
        response.end(JSON.stringify(url.includes("/blobs/") ? config : { config: { digest } }));
      });
    };
    const registry = await openWith(35_000);
    const before = performance.now();
    t.equal((await read(registry.at)).exposed.length, 35_000);
    t.ok(performance.now() - before < 10_000, `${Math.round(performance.now() - before)} ms`);
    await rejectsWith(t, "REGISTRY_UNREACHABLE", read((await openWith(50_000)).at));
  },
);
