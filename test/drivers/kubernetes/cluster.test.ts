import dns from "node:dns";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { makeCertificate } from "../../fixtures/certificates.ts";
import { KubernetesApiError } from "../../fixtures/kubernetes/status.ts";
import type { Address } from "../../../drivers/driver.ts";
import { call, get, rejectsWith, specOf, text } from "../conformance.ts";
import { openSilence } from "../engine/engine-gate.ts";
import { NAMESPACE, openWorld, RBAC, faster, type KubernetesWorld } from "./test-cluster.ts";

t.test("what berth may not do is named with its verb and resource", async (t) => {
  const manifest = readFileSync(RBAC, "utf8");
  for (const [granted, verb, resource, act] of [
    ['verbs: ["get", "list", "create", "deletecollection"]', "list", "deployments", (driver) => driver.list(call())],
    ['verbs: ["get", "create", "patch", "deletecollection"]', "create", "secrets", async (driver, spec) => driver.deploy(await spec(), call())],
    ['verbs: ["get", "list", "create", "deletecollection"]', "create", "deployments", async (driver, spec) => driver.deploy(await spec(), call())],
    ['verbs: ["list", "watch", "deletecollection"]', "list", "pods", (driver) => driver.destroy("any", call())],
  ] as [string, string, string, (driver: ReturnType<KubernetesWorld["open"]>, spec: () => ReturnType<typeof specOf>) => Promise<unknown>][]) {
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

t.test("berth in the cluster uses its pod's service account, and reaches pods at their own addresses", async (t) => {
  const { cluster, folder, open, image, podOf } = await openWorld(t);
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
  // A name is not known until its pod is ready, and nodes lead a Service's address anywhere only later.
  const names: string[] = [];
  dns.lookup = ((name: string, options: dns.LookupOptions, done: () => void) => {
    if (name.endsWith(`.${NAMESPACE}.svc.cluster.local`)) names.push(name);
    lookup(name, options, done);
  }) as typeof dns.lookup;

  const driver = open({ kubeconfig: undefined, root: join(folder, "pod") });
  const spec = await specOf(driver, "named", await image("onDemand"));
  const {
    addresses: [address],
  } = await driver.deploy(spec, call());
  t.strictSame(address, { host: podOf("named")?.status?.["podIP"], port: 15353 });
  t.strictSame(await get(address as Address, "/square?number=3"), { result: 9 });
  t.strictSame((await driver.inspect("named", call()))?.addresses[0], address);
  t.strictSame(names, []);
  t.match(cluster.objects.find("services", NAMESPACE, "named"), { spec: { ports: [{ port: 15353 }] } }, "for other pods");

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

t.test("an unknown identity and a wrong one get different errors", async (t) => {
  const { cluster, kubeconfig, folder, open } = await openWorld(t);
  writeFileSync(kubeconfig, cluster.kubeconfig({ token: "wrong" }));
  await rejectsWith(t, "ENGINE_ACTION_DENIED", open().list(call()));
  const other = makeCertificate(folder, "another");
  writeFileSync(kubeconfig, cluster.kubeconfig().replace(Buffer.from(cluster.ca).toString("base64"), Buffer.from(other.cert).toString("base64")));
  await rejectsWith(t, "ENGINE_UNREACHABLE", open().list(call()));
});

t.test("a busy server gets the request again, and two concurrent requests both succeed", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open({ clock: faster(10) });
  const busy = { error: new KubernetesApiError(429, "TooManyRequests", "Too many requests, please try again later.", 1) };
  cluster.trouble.push(busy);
  t.strictSame(await driver.list(call()), []);
  const spec = await specOf(driver, "raced", await image("worker"), { graceMs: 100 });
  const changed = new KubernetesApiError(409, "Conflict", 'Operation cannot be fulfilled on secrets "raced.env": the object has been modified');
  cluster.trouble.push({ error: changed, method: "PATCH" }, { ...busy, method: "PATCH" });
  await driver.deploy(spec, call());
  cluster.trouble.push({ ...busy, method: "DELETE" });
  await driver.destroy("raced", call());
  t.strictSame(cluster.trouble, [], "all of that was met");
  cluster.trouble.push(busy, busy, busy, busy);
  await rejectsWith(t, "ENGINE_FAILED", driver.list(call()));
});

t.test("a cluster that is not there is unreachable in every call, and so is one that says nothing, in bounded time", async (t) => {
  const { cluster, kubeconfig, open } = await openWorld(t);
  const config = cluster.kubeconfig();
  writeFileSync(kubeconfig, config.replace(cluster.url, "https://127.0.0.1:1"));
  const driver = open();
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.list(call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.inspect("any", call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.destroy("any", call()));
  await rejectsWith(t, "ENGINE_UNREACHABLE", text(driver.logs("any", { tail: 1 }, call())));

  writeFileSync(kubeconfig, config.replace(cluster.url, (await openSilence(t)).replace("tcp:", "https:")));
  t.type((await rejectsWith(t, "ENGINE_UNREACHABLE", open({ clock: faster(1_000) }).list(call()))).retryAfterMs, "number");
  const caller = new AbortController();
  const listing = open().list({ signal: caller.signal });
  const reason = new Error("enough");
  caller.abort(reason);
  t.equal(await listing.catch((error: unknown) => error), reason);
});

t.test("settings that lead to no cluster are reported when the driver is made", async (t) => {
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
