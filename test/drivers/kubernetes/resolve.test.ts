import { createHash } from "node:crypto";
import { createServer } from "node:http";
import t from "tap";
import { openRegistry } from "../../fixtures/registry.ts";
import { call, rejectsWith, specOf } from "../conformance.ts";
import { NAMESPACE, openWorld, REGISTRY } from "./test-cluster.ts";
import { listen } from "../../fixtures/server.ts";

t.test("images are what the registries say, by their digest, and nothing else", async (t) => {
  const { open, image } = await openWorld(t);
  const driver = open();
  const { ref } = await image("worker");
  const resolved = await driver.resolve({ ref }, call());
  t.strictSame(resolved, {
    id: `${REGISTRY}/berth/worker@${resolved.digest}`,
    digest: resolved.digest,
    exposed: [],
    portsUnknown: true,
    command: [],
  });
  for (const unknown of ["absent/nothing:1", `${REGISTRY}/absent/nothing:1`, `sha256:${"0".repeat(64)}`])
    await rejectsWith(t, "IMAGE_NOT_FOUND", driver.resolve({ ref: unknown }, call()));
  await rejectsWith(t, "IMAGE_REFERENCE_INVALID", driver.resolve({ ref: "Not A Reference" }, call()));
  await rejectsWith(t, "REGISTRY_UNREACHABLE", driver.resolve({ ref: "127.0.0.1:2/some/thing:1" }, call()));
});

t.test("a registry that is not set up is queried directly, also for the ports, with the nodes' pull credentials", async (t) => {
  const { cluster, open } = await openWorld(t);
  const other = await openRegistry();
  t.teardown(() => other.close());
  const digest = other.put("datagrok/thing", "1", "one");
  const driver = open();
  const pinned = {
    id: `${other.host}/datagrok/thing@${digest}`,
    digest,
    sizeBytes: 10_240,
    platform: { image: `linux/${process.arch === "x64" ? "amd64" : process.arch}`, machine: undefined },
    exposed: [8080],
    command: ["/nothing"],
  };
  t.strictSame(await driver.resolve({ ref: `${other.host}/datagrok/thing:1` }, call()), pinned);
  t.strictSame(await driver.resolve({ ref: pinned.id }, call()), pinned);
  await rejectsWith(t, "IMAGE_NOT_FOUND", driver.resolve({ ref: `${other.host}/datagrok/thing:2` }, call()));
  await rejectsWith(t, "PULL_DENIED", driver.resolve({ ref: `${other.host}/denied/thing:1` }, call()));

  // A server in front of it that requires a name and a password.
  const server = createServer(async (request, response) => {
    const isAuthorized = request.headers.authorization === `Basic ${Buffer.from("me:my:password").toString("base64")}`;
    if (!isAuthorized) return response.writeHead(401, { "www-authenticate": "Basic" }).end();
    const answer = await fetch(`http://${other.host}${request.url}`);
    response.writeHead(answer.status, { "docker-content-digest": answer.headers.get("docker-content-digest") ?? "" });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  const { port } = await listen(t, server);
  const host = `127.0.0.1:${port}`;
  const resolve = (entry: object, key = host) =>
    open({ dockerAuth: JSON.stringify({ auths: { [key]: entry } }) }).resolve({ ref: `${host}/datagrok/thing:1` }, call());
  t.match(await resolve({ auth: Buffer.from("me:my:password").toString("base64") }), { digest, exposed: [8080] });
  t.match(await resolve({ username: "me", password: "my:password" }), { digest });
  t.match(
    await resolve({ username: "me", password: "my:password" }, `http://${host}/v2/`),
    { digest },
    "as kubectl writes a server that is given as a URL",
  );
  await rejectsWith(t, "PULL_DENIED", resolve({ auth: Buffer.from("me:wrong").toString("base64") }));

  const fromSecret = (data: Record<string, string>) => {
    const metadata = { name: "regcred", namespace: NAMESPACE, uid: "", resourceVersion: "", creationTimestamp: "" };
    const secret = cluster.objects.add("secrets", { apiVersion: "v1", kind: "Secret", metadata, type: "kubernetes.io/dockerconfigjson", data });
    return open({ dockerAuth: "regcred" })
      .resolve({ ref: `${host}/datagrok/thing:1` }, call())
      .finally(() => cluster.objects.remove("secrets", secret));
  };
  const config = (entry: object) => ({ ".dockerconfigjson": Buffer.from(JSON.stringify({ auths: { [host]: entry } })).toString("base64") });
  t.match(await fromSecret(config({ username: "me", password: "my:password" })), { digest, exposed: [8080] });
  for (const data of [config({ username: "me", password: "wrong" }), {}, { ".dockerconfigjson": "e30=" }])
    t.match((await rejectsWith(t, "PULL_DENIED", fromSecret(data))).message, /Check its entry in the Secret regcred/);
});

t.test("what an image is built for must be what nodes have, if the settings select nodes by it", async (t) => {
  const { open } = await openWorld(t);
  const sha = (text: string) => `sha256:${createHash("sha256").update(text).digest("hex")}`;
  const config = JSON.stringify({ os: "linux", architecture: "arm64", config: { ExposedPorts: { "8000/tcp": {} } } });
  const manifest = JSON.stringify({ schemaVersion: 2, config: { digest: sha(config) } });
  const entries = [
    { digest: sha("attestation"), platform: { os: "unknown", architecture: "unknown" } },
    { digest: sha(manifest), platform: { os: "linux", architecture: "arm64" } },
  ];
  const index = JSON.stringify({ schemaVersion: 2, manifests: entries });
  const documents: Record<string, string> = { "manifests/1": index, [`manifests/${sha(manifest)}`]: manifest, [`blobs/${sha(config)}`]: config };
  const server = createServer((request, response) => {
    const body = documents[request.url?.replace("/v2/arm/x/", "") ?? ""];
    response.writeHead(body === undefined ? 404 : 200, body === undefined ? {} : { "docker-content-digest": sha(body) }).end(body);
  });
  const ref = `127.0.0.1:${(await listen(t, server)).port}/arm/x:1`;
  const resolve = (selected: string | undefined, more: Parameters<typeof open>[0] = {}) =>
    open({ ...(selected === undefined ? {} : { cvm: { nodeSelector: { "kubernetes.io/arch": selected } } }), ...more }).resolve({ ref }, call());
  t.match(await resolve(undefined), { digest: sha(index), exposed: [8000], platform: { image: "linux/arm64", machine: undefined } });
  t.match(await resolve("arm64"), { digest: sha(index), exposed: [8000], platform: { image: "linux/arm64", machine: "linux/arm64" } });
  const { message } = await rejectsWith(t, "IMAGE_NOT_FOUND", resolve("amd64"));
  t.match(message, /is built for linux\/arm64, and containers run on linux\/amd64 \(kubernetes\.io\/arch in BERTH_KUBERNETES_CVM_NODE_SELECTOR\)/);
  t.match(await resolve("amd64", { datagrok: { nodeSelector: { "kubernetes.io/arch": "arm64" } } }), { exposed: [8000] }, "either host may run it");
  // Also where the settings name the registry, which berth may be unable to read for other reasons.
  const reference = `${ref.slice(0, -2)}@${sha(index)}`;
  documents[`manifests/${sha(index)}`] = index;
  const registry = { resolve: async () => ({ reference, digest: sha(index) }), fullNames: () => [], login: async () => undefined };
  await rejectsWith(t, "IMAGE_NOT_FOUND", resolve("amd64", { registry }));
});

t.test("images are pulled with what the administrator gave and what the registry wants", async (t) => {
  const { cluster, open, image, registry } = await openWorld(t);
  const given = { auths: { "ghcr.io": { auth: Buffer.from("me:my password").toString("base64") } } };
  const login = async (host: string) => (host === REGISTRY ? { username: "AWS", password: "for twelve hours" } : undefined);
  const source = await image("worker");
  const pulls = async (dockerAuth: string | undefined, withLogin: boolean) => {
    const driver = open({ dockerAuth, registry: withLogin ? { ...registry, login } : registry });
    await driver.deploy(await specOf(driver, "pulling", source, { graceMs: 1 }), call());
    const secrets = cluster.objects.find("deployments", NAMESPACE, "pulling")?.spec as {
      template: { spec: { imagePullSecrets?: { name: string }[] } };
    };
    const own = cluster.objects.find("secrets", NAMESPACE, "pulling.pull")?.data?.[".dockerconfigjson"];
    await driver.destroy("pulling", call());
    return {
      names: secrets.template.spec.imagePullSecrets?.map(({ name }) => name),
      auths: own && Object.keys((JSON.parse(Buffer.from(own, "base64").toString()) as { auths: object }).auths),
    };
  };
  t.strictSame(await pulls(undefined, false), { names: undefined, auths: undefined });
  t.strictSame(await pulls("regcred", false), { names: ["regcred"], auths: undefined });
  t.strictSame(await pulls(JSON.stringify(given), true), { names: ["pulling.pull"], auths: ["ghcr.io", REGISTRY] });
  t.strictSame(await pulls(Buffer.from(JSON.stringify(given)).toString("base64"), false), { names: ["pulling.pull"], auths: ["ghcr.io"] });
  t.strictSame(await pulls("regcred", true), { names: ["regcred", "pulling.pull"], auths: [REGISTRY] });
  for (const wrong of ['{"password": "do not tell"}', "Do Not Tell", "!"]) {
    t.throws(() => open({ dockerAuth: wrong }), { code: "SETTINGS_INVALID", message: /^((?!tell).)*$/i });
  }
});
