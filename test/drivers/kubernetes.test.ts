import { request } from "node:https";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import dns from "node:dns";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type Clock, clockFrom, systemClock } from "../../clock.ts";
import type { Driver, DriverEvent } from "../../drivers/driver.ts";
import { makeCertificate } from "../fixtures/certificates.ts";
import { ApiError } from "../fixtures/kubernetes/status.ts";
import { openRegistry } from "../fixtures/registry.ts";
import { call, conformance, get, labelsFor, rejectsWith, specOf, text, until } from "./conformance.ts";
import { openSilence } from "./engine-gate.ts";
import { NAMESPACE, openWorld, RBAC, REGISTRY, type World } from "./kubernetes-world.ts";

type Address = NonNullable<Awaited<ReturnType<ReturnType<World["open"]>["deploy"]>>["address"]>;

t.test("the kubernetes driver keeps the contract, with the rights of conf/kubernetes/rbac.yaml and all of them", async (t) => {
  const world = await openWorld(t);
  await conformance(t, { ...world, unknown: async () => ({ ref: `${REGISTRY}/nobody/nothing:1` }) });
  t.strictSame([...world.cluster.roles.asked()].toSorted(), [...world.cluster.roles.granted()].toSorted());
});

t.test("what the spec asks for is what the cluster is told", async (t) => {
  const { cluster, open, image, podOf } = await openWorld(t);
  const driver = open();
  const sizes = { cpu: 0.25, memoryMb: 96, shmMb: 32, storageGb: 21 };
  const labels = { ...labelsFor("sizes"), environment: "Our stand, no 1-", container: `odd/${"x".repeat(80)}` };
  const spec = await specOf(driver, "sizes", await image("onDemand"), { ...sizes, labels, env: { SECRET_KEY: "do not tell $(HOME)", EMPTY: "" } });
  const { address } = await driver.deploy(spec, call());
  t.match(await get(address as Address, "/env"), { SECRET_KEY: "do not tell $(HOME)", EMPTY: "" });

  const deployment = cluster.objects.find("deployments", NAMESPACE, "sizes");
  t.match(deployment, { spec: { replicas: 1, strategy: { type: "Recreate" } }, metadata: { labels: { "app.kubernetes.io/managed-by": "berth" } } });
  const pod = podOf("sizes");
  t.match(pod?.spec, {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    securityContext: { seccompProfile: { type: "RuntimeDefault" } },
    volumes: [{ name: "shm", emptyDir: { medium: "Memory", sizeLimit: "32Mi" } }],
    containers: [
      {
        image: spec.image,
        resources: { requests: { cpu: "250m", memory: "96Mi" }, limits: { cpu: "250m", memory: "96Mi", "ephemeral-storage": "21Gi" } },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
        readinessProbe: { tcpSocket: { port: 15353 } },
        volumeMounts: [{ mountPath: "/dev/shm" }],
      },
    ],
  });
  t.notMatch(JSON.stringify([deployment, pod]), /do not tell/, "variables stand in a Secret only");
  t.match(cluster.objects.find("services", NAMESPACE, "sizes"), {
    spec: { ports: [{ port: 15353 }] },
    metadata: { ownerReferences: [{ uid: deployment?.metadata.uid }] },
  });
  t.match(cluster.objects.find("secrets", NAMESPACE, "sizes.env")?.metadata.ownerReferences, [{ kind: "Deployment", uid: deployment?.metadata.uid }]);
  t.strictSame((await driver.inspect("sizes", call()))?.labels, labels, "labels of any characters come back");
  await driver.destroy("sizes", call());
});

t.test("a Deployment that somebody removes takes the rest of its service with it", async (t) => {
  const { cluster, open, image, vanish } = await openWorld(t);
  const driver = open();
  await driver.deploy(await specOf(driver, "removed", await image("worker"), { graceMs: 1 }), call());
  await vanish("removed");
  await until(t, "the Secret went too", async () => cluster.objects.all("secrets").length === 0);
  t.equal(await driver.inspect("removed", call()), undefined);
  await driver.destroy("removed", call());
});

t.test("why a start failed is told in the house's words, and nothing is left of it", async (t) => {
  const world = await openWorld(t);
  const { cluster, image, refused, left } = world;
  const driver = world.open({ patienceMs: 700 });
  const fails = async (
    code: Parameters<typeof rejectsWith>[1],
    source: Awaited<ReturnType<typeof image>>,
    more: Partial<Awaited<ReturnType<typeof specOf>>>,
    says: RegExp,
  ) => {
    const fault = await rejectsWith(t, code, driver.deploy(await specOf(driver, "failing", source, more), call()));
    t.match(fault.message, says);
    t.strictSame(await left("failing"), []);
  };
  const worker = await image("worker");
  const gone = 'rpc error: code = NotFound desc = failed to pull and unpack image "r/x": failed to resolve reference "r/x": r/x: not found';
  await fails("IMAGE_NOT_FOUND", refused("gone", gone), {}, /not found/);
  await fails(
    "PULL_DENIED",
    refused("denied", "failed to authorize: failed to fetch oauth token: unexpected status: 401 Unauthorized"),
    {},
    /401.*no credentials.*DOCKER_AUTH/,
  );
  await fails(
    "REGISTRY_UNREACHABLE",
    refused("away", 'failed to do request: Head "https://r/v2/": dial tcp 10.0.0.1:443: i/o timeout'),
    {},
    /i\/o timeout/,
  );
  await fails("CONTAINER_UNSCHEDULABLE", worker, { cpu: 1_000 }, /0\/1 nodes are available: 1 Insufficient cpu.*container\.json/);
  await fails("CONTAINER_UNSCHEDULABLE", worker, { gpu: 1 }, /nvidia\.com\/gpu/);
  await fails("CONTAINER_OUT_OF_MEMORY", await image("hungry"), { memoryMb: 200 }, /200 MB/);
  await fails("SPEC_REFUSED", worker, { env: { "no key/for a secret": "1" } }, /Invalid value/);
  cluster.admission.refuses = "exceeded quota: compute, requested: requests.memory=256Mi, used: requests.memory=1Gi, limited: requests.memory=1Gi";
  await fails("NO_CAPACITY", worker, {}, /exceeded quota: compute/);
  cluster.admission.refuses = 'violates PodSecurity "restricted:latest": runAsNonRoot != true';
  await fails("SPEC_REFUSED", worker, {}, /baseline/);
});

t.test("a cluster that struggles for a while and then comes right is waited for", async (t) => {
  const { open, image, cluster } = await openWorld(t);
  const driver = open();
  const source = await image("worker");
  await driver.deploy(await specOf(driver, "big", source, { cpu: 15, graceMs: 1 }), call());
  const second = driver.deploy(await specOf(driver, "second", source, { cpu: 2, graceMs: 1 }), call());
  await until(t, "it does not fit", () => JSON.stringify(cluster.objects.all("pods")).includes("Unschedulable"));
  await driver.destroy("big", call());
  await second;
  await driver.destroy("second", call());
});

t.test("a start outlives a cluster that is away for a moment", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "away", await image("onDemand"), { env: { BOOT_MS: "800" } });
  const start = driver.deploy(spec, call());
  await until(t, "it is watched", () => cluster.watching() > 0);
  const failed = { error: new ApiError(500, "InternalError", "etcdserver: leader changed"), method: "GET" };
  cluster.trouble.push(failed, failed);
  cluster.cutWatches();
  const { address } = await start;
  t.strictSame(await get(address as Address, "/square?number=2"), { result: 4 });
  t.strictSame(cluster.trouble, [], "it was away");
  await driver.destroy("away", call());
});

t.test("a start whose pod is taken away ends at once, and leaves nothing", async (t) => {
  const { cluster, images, open, image, podOf, left } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "taken", await image("mute"));
  const held = images.get(spec.image) as { folder: string };
  images.set(spec.image, { refused: "dial tcp: i/o timeout" });
  const start = driver.deploy(spec, call());
  const says = (what: string) => JSON.stringify(podOf("taken")?.status ?? {}).includes(what);
  // Watched before it runs, so that its run is seen before its end.
  await until(t, "it is watched", () => cluster.watching() > 0 && says("ErrImagePull"));
  images.set(spec.image, held);
  await until(t, "it runs", () => says("startedAt"));
  const pod = podOf("taken");
  if (pod) cluster.controllers.endPod(pod);
  t.match((await rejectsWith(t, "CONTAINER_CRASHED", start)).message, /taken away/);
  t.strictSame(await left("taken"), []);

  const second = driver.deploy(spec, call());
  await until(t, "it is there", async () => cluster.objects.find("deployments", NAMESPACE, "taken") !== undefined);
  await driver.destroy("taken", call());
  await rejectsWith(t, "CONTAINER_CRASHED", second);
  t.strictSame(await left("taken"), []);
});

t.test("one that dies later is started again by the cluster, and both are told: its end, its last words, its return", async (t) => {
  const { open, image, kill } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "again", await image("worker"), { graceMs: 300 });
  await driver.deploy(spec, call());
  await kill("again");
  await until(t, "its end is seen", async () => (await driver.inspect("again", call()))?.exit?.code === 137);
  await until(t, "it runs again", async () => (await driver.inspect("again", call()))?.running === true);
  await until(t, "both runs are in its log", async () => {
    const log = await text(driver.logs("again", { tail: 1_000 }, call()));
    return log.split("worker began").length === 3;
  });
  t.ok((await driver.deploy(spec, call())).phases.boot >= 299, "and it is adopted as it is");
  await kill("again");
  await until(t, "it is not started again for a while", async () => (await driver.inspect("again", call()))?.running === false);
  await driver.deploy(spec, call());
  t.equal((await driver.inspect("again", call()))?.running, true, "a deploy does not wait for the cluster's back-off");
  await driver.destroy("again", call());
});

t.test("a name that somebody else has is left alone", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "stranger", await image("worker"), { graceMs: 1 });
  const theirs = await open().deploy(spec, call());
  t.ok(theirs);
  const other = { ...spec, labels: { ...spec.labels, store: "another" } };
  await rejectsWith(t, "SPEC_REFUSED", driver.deploy(other, call()));
  t.equal((await driver.inspect("stranger", call()))?.labels.store, spec.labels.store);
  await driver.destroy("stranger", call());

  const template = { metadata: { labels: { app: "theirs" } }, spec: { containers: [{ name: "theirs", image: "theirs:1" }] } };
  const own = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "stranger" },
    spec: { selector: { matchLabels: { app: "theirs" } }, template },
  };
  t.equal(await applyAs(cluster, "kubectl", "/apis/apps/v1/namespaces/berth/deployments/stranger", own), 201);
  await rejectsWith(t, "SPEC_REFUSED", driver.deploy(spec, call()));
  t.equal(await driver.inspect("stranger", call()), undefined);
  t.equal(await text(driver.logs("stranger", { tail: 10 }, call())), "");
  await driver.destroy("stranger", call());
  t.ok(cluster.objects.find("deployments", NAMESPACE, "stranger"), "theirs is still there");
});

t.test("a field that somebody else has set is not taken from them", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "shared", await image("worker"), { graceMs: 1 });
  const metadata = {
    name: "shared.env",
    annotations: { "berth.store": spec.labels.store, "berth.container": spec.labels.container },
    labels: { "app.kubernetes.io/managed-by": "berth" },
  };
  const secret = { apiVersion: "v1", kind: "Secret", metadata, type: "kubernetes.io/basic-auth", data: {} };
  t.equal(await applyAs(cluster, "kubectl", "/api/v1/namespaces/berth/secrets/shared.env", secret), 201);
  const fault = await rejectsWith(t, "SPEC_REFUSED", driver.deploy(spec, call()));
  t.match(fault.message, /conflict with "kubectl" using v1: \.type/);
});

t.test("what berth may not do is named with its verb and resource", async (t) => {
  const manifest = readFileSync(RBAC, "utf8");
  for (const [granted, verb, resource, act] of [
    ['verbs: ["get", "list", "create", "patch", "delete"]', "list", "deployments", (driver) => driver.list(call())],
    ['verbs: ["get", "create", "patch", "delete"]', "get", "secrets", async (driver, spec) => driver.deploy(await spec(), call())],
    ['verbs: ["get", "list", "create", "patch", "delete"]', "create", "deployments", async (driver, spec) => driver.deploy(await spec(), call())],
    ['verbs: ["list", "watch"]', "list", "pods", (driver) => driver.destroy("any", call())],
  ] as [string, string, string, (driver: ReturnType<World["open"]>, spec: () => ReturnType<typeof specOf>) => Promise<unknown>][]) {
    const rbac = join(t.testdir(), "rbac.yaml");
    const cut = manifest.replace(granted, granted.replace(`"${verb}"`, '"none"'));
    t.not(cut, manifest);
    writeFileSync(rbac, cut);
    const world = await openWorld(t, { rbac });
    const driver = world.open();
    const fault = await rejectsWith(
      t,
      "ENGINE_ACTION_DENIED",
      act(driver, async () => specOf(driver, "denied", await world.image("worker"))),
    );
    t.match(fault.message, new RegExp(`may not ${verb} ${resource} in the namespace berth`));
    t.strictSame(await world.left("denied"), []);
  }
});

t.test("events go on where a watch broke off, and begin anew where the cluster has forgotten", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open({ clock: faster(20) });
  const { seen, end } = await listen(t, driver, cluster);
  const connects = () => seen.filter(({ kind }) => kind === "connected").length;
  const told = (service: string) => seen.some((event) => event.kind === "changed" && event.service === service);
  cluster.cutWatches();
  const source = await image("worker");
  await driver.deploy(await specOf(driver, "missed", source, { graceMs: 1 }), call());
  await until(t, "what happened meanwhile is told", () => told("missed"));
  t.ok(connects() >= 2, "and that something may have been missed");
  await driver.destroy("missed", call());

  await until(t, "watching", () => cluster.watching() === 1);
  const before = connects();
  cluster.trouble.push({ error: new ApiError(410, "Expired", "too old resource version"), method: "GET" });
  cluster.cutWatches();
  await until(t, "listed anew", () => connects() > before);
  await until(t, "watching again", () => cluster.watching() === 1);
  const listed = connects();
  cluster.objects.forget();
  cluster.cutWatches();
  await until(t, "listed anew, since that version was forgotten", () => connects() > listed);
  await driver.deploy(await specOf(driver, "later", source, { graceMs: 1 }), call());
  await until(t, "told after that", () => told("later"));
  await driver.destroy("later", call());
  await end();
});

t.test("a watch whose time is up goes on where it was, and says nothing of it", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open({ clock: faster(20) });
  const { seen, end } = await listen(t, driver, cluster);
  // A bookmark is all that tells a version which is younger than what the cluster has forgotten.
  cluster.objects.forget();
  await until(t, "a bookmark", () => cluster.bookmarked() >= cluster.objects.oldest());
  const lists = cluster.roles.times("list pods");
  cluster.endWatches();
  await until(t, "watching again", () => cluster.roles.times("watch pods") === 2 && cluster.watching() === 1);
  t.equal(cluster.roles.times("list pods"), lists, "nothing was listed anew");
  await driver.deploy(await specOf(driver, "later", await image("worker"), { graceMs: 1 }), call());
  await until(t, "told", () => seen.some((event) => event.kind === "changed" && event.service === "later"));
  t.equal(seen.filter(({ kind }) => kind === "connected").length, 1);
  await driver.destroy("later", call());
  await end();
});

t.test("a watch that falls silent for longer than it may last is begun anew", async (t) => {
  const { cluster, open } = await openWorld(t);
  const system = systemClock();
  const hasty = clockFrom({ ...system, after: (ms, task) => system.after(ms > 200_000 ? 100 : ms, task) });
  const { seen, end } = await listen(t, open({ clock: hasty }), cluster);
  await until(t, "connected again", () => seen.length === 2);
  t.strictSame(seen, [{ kind: "connected" }, { kind: "connected" }]);
  await end();
});

t.test("berth in the cluster uses its pod's service account, and reaches services by name", async (t) => {
  const { cluster, folder, open, image } = await openWorld(t);
  const account = join(folder, "pod/var/run/secrets/kubernetes.io/serviceaccount");
  mkdirSync(account, { recursive: true });
  writeFileSync(join(account, "ca.crt"), cluster.ca);
  writeFileSync(join(account, "namespace"), NAMESPACE);
  writeFileSync(join(account, "token"), cluster.token);
  const { hostname, port } = new URL(cluster.url);
  process.env["KUBERNETES_SERVICE_HOST"] = hostname;
  process.env["KUBERNETES_SERVICE_PORT"] = port;
  const { lookup } = dns;
  t.teardown(() => {
    delete process.env["KUBERNETES_SERVICE_HOST"];
    delete process.env["KUBERNETES_SERVICE_PORT"];
    dns.lookup = lookup;
  });
  // In the place of the cluster's DNS and its proxy: a service's name leads to its pod, once that is ready.
  const asked: string[] = [];
  dns.lookup = ((name: string, options: dns.LookupOptions, done: (error: Error | null, address?: unknown, family?: number) => void) => {
    const [service = "", namespace, ...rest] = name.split(".");
    if (rest.join(".") !== "svc.cluster.local" || namespace !== NAMESPACE) return lookup(name, options, done as never);
    asked.push(name);
    const pod = cluster.objects.all("pods").find(({ metadata }) => metadata.labels?.["berth.service"] === service);
    const { podIP, containerStatuses } = (pod?.status ?? {}) as { podIP?: string; containerStatuses?: { ready: boolean }[] };
    if (!cluster.objects.find("services", NAMESPACE, service) || !containerStatuses?.[0]?.ready)
      return done(Object.assign(new Error("not found"), { code: "ENOTFOUND" }));
    return options.all ? done(null, [{ address: podIP, family: 4 }]) : done(null, podIP, 4);
  }) as typeof dns.lookup;

  const driver = open({ kubeconfig: undefined, root: join(folder, "pod") });
  const spec = await specOf(driver, "named", await image("onDemand"));
  const { address } = await driver.deploy(spec, call());
  t.strictSame(address, { host: "named.berth.svc.cluster.local", port: 15353 });
  t.strictSame((await driver.inspect("named", call()))?.address, address);
  t.ok(asked.length > 0 && asked.length < 3, "a name that may not be there yet is not asked for");

  await t.test("a token that was renewed on the disk is used as soon as the old one is refused", async () => {
    writeFileSync(join(account, "token"), "renewed");
    cluster.accept("renewed");
    await driver.list(call());
  });
  await driver.destroy("named", call());
});

t.test("a client's certificate will do as well as a token", async (t) => {
  const { cluster, kubeconfig, open } = await openWorld(t);
  writeFileSync(kubeconfig, cluster.kubeconfig("certificate"));
  t.strictSame(await open().list(call()), []);
});

t.test("who is not known, or not who it should be, is told apart", async (t) => {
  const { cluster, kubeconfig, folder, open } = await openWorld(t);
  writeFileSync(kubeconfig, cluster.kubeconfig({ token: "wrong" }));
  await rejectsWith(t, "ENGINE_ACTION_DENIED", open().list(call()));
  const other = makeCertificate(folder, "another");
  writeFileSync(kubeconfig, cluster.kubeconfig().replace(Buffer.from(cluster.ca).toString("base64"), Buffer.from(other.cert).toString("base64")));
  await rejectsWith(t, "ENGINE_UNREACHABLE", open().list(call()));
});

t.test("a server that is busy is asked again, and two who come at once both get through", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open({ clock: faster(100) });
  const busy = { error: new ApiError(429, "TooManyRequests", "Too many requests, please try again later.", 1) };
  cluster.trouble.push(busy);
  t.strictSame(await driver.list(call()), []);
  const spec = await specOf(driver, "raced", await image("worker"), { graceMs: 100 });
  const changed = new ApiError(409, "Conflict", 'Operation cannot be fulfilled on secrets "raced.env": the object has been modified');
  cluster.trouble.push({ error: changed, method: "PATCH" }, { ...busy, method: "PATCH" });
  await driver.deploy(spec, call());
  cluster.trouble.push({ ...busy, method: "DELETE" });
  await driver.destroy("raced", call());
  t.strictSame(cluster.trouble, [], "all of that was met");
  cluster.trouble.push(busy, busy, busy, busy);
  await rejectsWith(t, "ENGINE_FAILED", driver.list(call()));
});

t.test("a cluster that is not there is unreachable in every call, and one that says nothing fails in bounded time", async (t) => {
  const { cluster, kubeconfig, open } = await openWorld(t);
  const config = cluster.kubeconfig();
  writeFileSync(kubeconfig, config.replace(cluster.url, "https://127.0.0.1:1"));
  const driver = open();
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.list(call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.inspect("any", call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.destroy("any", call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", text(driver.logs("any", { tail: 1 }, call())));

  writeFileSync(kubeconfig, config.replace(cluster.url, (await openSilence(t)).replace("tcp:", "https:")));
  await rejectsWith(t, "ENGINE_FAILED", open({ clock: faster(1_000) }).list(call()));
  const caller = new AbortController();
  const listing = open().list({ signal: caller.signal });
  const reason = new Error("enough");
  caller.abort(reason);
  t.equal(await listing.catch((error: unknown) => error), reason);
});

t.test("lists of many are read page by page", async (t) => {
  const { cluster, open } = await openWorld(t);
  const meta = { namespace: NAMESPACE, uid: "", resourceVersion: "", creationTimestamp: "" };
  const spec = { replicas: 0, template: { spec: {} } };
  for (let n = 0; n < 1_201; n++) {
    const labels = { "app.kubernetes.io/managed-by": "berth", "berth.service": `many-${n}` };
    const annotations = { "berth.container": `c-${n}`, "berth.generation": "1" };
    cluster.objects.add("deployments", {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { ...meta, name: `many-${n}`, labels, annotations },
      spec,
    });
  }
  const all = await open().list(call());
  t.equal(new Set(all.map(({ service }) => service)).size, 1_201);
});

t.test("images are what the registries say, by their digest, and nothing else", async (t) => {
  const { open, image } = await openWorld(t);
  const driver = open();
  const { ref } = await image("worker");
  const found = await driver.resolve({ ref }, call());
  t.strictSame(found, { id: `${REGISTRY}/berth/worker@${found.digest}`, digest: found.digest, exposed: [], portsUnknown: true });
  for (const unknown of ["nobody/nothing:1", `${REGISTRY}/nobody/nothing:1`, `sha256:${"0".repeat(64)}`])
    await rejectsWith(t, "IMAGE_NOT_FOUND", driver.resolve({ ref: unknown }, call()));
  await rejectsWith(t, "IMAGE_REFERENCE_INVALID", driver.resolve({ ref: "Not A Reference" }, call()));
  await rejectsWith(t, "REGISTRY_UNREACHABLE", driver.resolve({ ref: "127.0.0.1:2/some/thing:1" }, call()));
});

t.test("a registry that is not set up is asked itself, and for the ports, with what nodes pull with", async (t) => {
  const { open } = await openWorld(t);
  const other = await openRegistry();
  t.teardown(() => other.close());
  const digest = other.put("datagrok/thing", "1", "one");
  const driver = open();
  const pinned = { id: `${other.host}/datagrok/thing@${digest}`, digest, exposed: [8080] };
  t.strictSame(await driver.resolve({ ref: `${other.host}/datagrok/thing:1` }, call()), pinned);
  t.strictSame(await driver.resolve({ ref: pinned.id }, call()), pinned);
  await rejectsWith(t, "IMAGE_NOT_FOUND", driver.resolve({ ref: `${other.host}/datagrok/thing:2` }, call()));
  await rejectsWith(t, "PULL_DENIED", driver.resolve({ ref: `${other.host}/denied/thing:1` }, call()));

  // Before it, a door that wants a name and a password.
  const door = createServer(async (request, response) => {
    const known = request.headers.authorization === `Basic ${Buffer.from("me:my:password").toString("base64")}`;
    if (!known) return response.writeHead(401, { "www-authenticate": "Basic" }).end();
    const answer = await fetch(`http://${other.host}${request.url}`);
    response.writeHead(answer.status, { "docker-content-digest": answer.headers.get("docker-content-digest") ?? "" });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  door.listen(0, "127.0.0.1");
  await once(door, "listening");
  t.teardown(() => door.close());
  const host = `127.0.0.1:${(door.address() as AddressInfo).port}`;
  const resolve = (entry: object) =>
    open({ dockerAuth: JSON.stringify({ auths: { [host]: entry } }) }).resolve({ ref: `${host}/datagrok/thing:1` }, call());
  t.match(await resolve({ auth: Buffer.from("me:my:password").toString("base64") }), { digest, exposed: [8080] });
  t.match(await resolve({ username: "me", password: "my:password" }), { digest });
  await rejectsWith(t, "PULL_DENIED", resolve({ auth: Buffer.from("me:wrong").toString("base64") }));
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

t.test("settings that lead to no cluster are told when the driver is made", async (t) => {
  const { kubeconfig, folder, open } = await openWorld(t);
  const wrong = (text: string) => {
    writeFileSync(kubeconfig, text);
    t.throws(() => open(), { code: "SETTINGS_INVALID", message: /^((?!secret-token).)*$/ }, text);
  };
  wrong("secret-token: [");
  wrong("{}");
  wrong(JSON.stringify({ clusters: [], contexts: [], users: [], "current-context": "none" }));
  t.throws(() => open({ kubeconfig: join(folder, "none") }), { code: "SETTINGS_INVALID" });
  t.throws(() => open({ kubeconfig: undefined, root: folder }), { code: "SETTINGS_INVALID" });
});

/** Hears the driver's events, from when it is connected and watches. */
async function listen(t: Test, driver: Driver, cluster: World["cluster"]) {
  const caller = new AbortController();
  const seen: DriverEvent[] = [];
  const listening = (async () => {
    for await (const event of driver.events({ signal: caller.signal })) seen.push(event);
  })();
  await until(t, "connected", () => seen[0]?.kind === "connected" && cluster.watching() === 1);
  const end = async () => {
    caller.abort();
    await listening;
  };
  return { seen, end };
}

/** Time that passes so many times as fast, for who waits. */
function faster(times: number): Clock {
  const system = systemClock();
  return clockFrom({ ...system, after: (ms, task) => system.after(ms / times, task) });
}

async function applyAs(cluster: World["cluster"], manager: string, path: string, body: object): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const headers = { authorization: `Bearer ${cluster.token}`, "content-type": "application/apply-patch+yaml" };
  request(`${cluster.url}${path}?fieldManager=${manager}`, { method: "PATCH", headers, ca: cluster.ca }, (response) => {
    response.resume();
    resolve(response.statusCode ?? 0);
  })
    .on("error", reject)
    .end(JSON.stringify(body));
  return promise;
}
