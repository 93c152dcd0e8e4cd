import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import { DOWNLOADS } from "../../../../gateway/registry/cache/cached-upstream.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { digestOf, MANIFEST } from "../registry-client.ts";
import { type Hub, openHub } from "./hub.ts";
import { ACCEPT, openCached, PULL } from "./open-cached.ts";

/** Empty for one that was closed meanwhile. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

const { ofOneAlone: MOST } = DOWNLOADS;

const blobRequests = ({ requests }: Hub) => requests.filter((request) => request.includes("/blobs/")).length;

t.test("an image is loaded once, and then comes from the cache, also while its registry is away", async (t) => {
  const hub = await openHub(t);
  const digest = await hub.push("library/app", "1", "layer one");
  const { manifest, blob, call, metric } = await openCached(t, hub);

  const first = await manifest("1");
  t.equal(first.status, 200);
  t.match(Object.fromEntries(first.headers), { "docker-content-digest": digest, "content-type": MANIFEST, warning: undefined });
  t.equal(digestOf(await first.text()), digest);
  t.equal(await (await blob(digestOf("layer one"))).text(), "layer one");
  const queries = hub.requests.length;
  t.equal((await manifest(digest)).status, 200);
  t.equal(await (await blob(digestOf("layer one"))).text(), "layer one");
  t.equal(hub.requests.length, queries, "a digest is never requested twice");
  t.equal(hub.remaining, 99);
  t.equal((await manifest("1")).status, 200);
  t.equal(hub.remaining, 99, "to check a tag is no pull");
  t.match(await metric("berth_registry_cache_pulls_remaining"), [{ upstream: "docker.io", value: 99 }]);
  t.match(await metric("berth_registry_cache_pull_limit"), [{ value: 100 }]);
  t.ok(((await metric("berth_registry_cache_bytes"))[0]?.value ?? 0) > 9);

  hub.isAway = true;
  const stale = await manifest("1");
  t.equal(stale.status, 200);
  t.match(stale.headers.get("warning"), /^110 berth ".*docker\.io is unavailable"/);
  t.equal(digestOf(await stale.text()), digest);
  t.equal(await (await blob(digestOf("layer one"))).text(), "layer one");
  const missing = await manifest("2");
  t.equal(missing.status, 502);
  t.match(await missing.json(), { errors: [{ code: "UNAVAILABLE", message: /docker\.io cannot be reached .* no copy/ }] });
  t.ok(missing.headers.get("retry-after"));
  t.equal((await call("/v2/docker.io/library/app/tags/list", PULL)).status, 502);
});

t.test("beyond the limit of pulls, an earlier copy is served with a warning, and without one the client learns when to try again", async (t) => {
  const hub = await openHub(t);
  const before = await hub.push("library/app", "1", "layer one");
  const { manifest, metric } = await openCached(t, hub);
  t.equal((await manifest("1")).status, 200);
  await hub.push("library/app", "1", "layer two");
  await hub.push("library/app", "2", "layer three");
  hub.remaining = 0;

  const stale = await manifest("1");
  t.match({ status: stale.status, digest: stale.headers.get("docker-content-digest") }, { status: 200, digest: before });
  t.match(stale.headers.get("warning"), /limits pulls/);
  const pulls = () => hub.requests.filter((request) => request.startsWith("GET") && request.includes("/manifests/")).length;
  const tried = pulls();
  const refused = await Promise.all(Array.from({ length: 20 }, () => manifest("2")));
  for (const answer of refused) {
    t.equal(answer.status, 429);
    const seconds = Number(answer.headers.get("retry-after"));
    t.ok(seconds > 100 && seconds <= 120, `as long as the registry says: ${seconds}`);
    t.match(await answer.json(), { errors: [{ code: "TOOMANYREQUESTS", message: /docker\.io limits berth's pulls.*BERTH_REGISTRY_CACHE_LOGINS/ }] });
  }
  t.equal(pulls(), tried, "no request is sent until then");
  t.match(await metric("berth_registry_cache_upstream_requests_total"), [{ status: "2xx" }, { status: "429", value: 1 }]);
  t.ok((await metric("berth_registry_cache_requests_total")).some((one) => one["result"] === "stale" && one.value === 1));
});

t.test("many clients at once cost one request, and read a layer while it arrives", async (t) => {
  const hub = await openHub(t);
  const layer = "x".repeat(10_000);
  await hub.push("library/app", "1", layer);
  const { manifest, blob } = await openCached(t, hub);
  const release = Promise.withResolvers<void>();
  hub.hold = release.promise;
  const manifests = await Promise.all(Array.from({ length: 20 }, () => manifest("1")));
  t.same([...new Set(manifests.map(({ status }) => status))], [200]);
  t.equal(hub.remaining, 99);
  const heads = await Promise.all(Array.from({ length: 20 }, () => blob(digestOf(layer))));
  t.ok(
    heads.every((one) => one.headers.get("content-length") === "10000"),
    "before the layer is complete",
  );
  const rest = await blob(digestOf(layer), { headers: { range: "bytes=9990-" } });
  t.match({ status: rest.status, range: rest.headers.get("content-range") }, { status: 206, range: "bytes 9990-9999/10000" });
  release.resolve();
  for (const one of heads) t.equal(await one.text(), layer);
  t.equal(await rest.text(), "x".repeat(10));
  t.equal(hub.requests.filter((request) => request.includes("/blobs/")).length, 1);
  const stored = await blob(digestOf(layer), { headers: { range: "bytes=5-9" } });
  t.equal(await stored.text(), "xxxxx");
  t.equal((await blob(digestOf(layer), { headers: { range: "bytes=10000-" } })).status, 416);
});

t.test("a layer that every client left is given up, and loaded again by the next one", async (t) => {
  const hub = await openHub(t);
  await hub.push("library/app", "1", "layer one");
  const { blob, token, host, port } = await openCached(t, hub);
  const release = Promise.withResolvers<void>();
  hub.hold = release.promise;
  const path = `/v2/docker.io/library/app/blobs/${digestOf("layer one")}`;
  const client = connect(port, "127.0.0.1").on("error", () => {});
  client.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${await token(...PULL.scopes)}\r\n\r\n`);
  await once(client, "data");
  // An orderly close in a response that is silent would be noticed by TCP keep-alive alone, after about a minute.
  client.resetAndDestroy();
  await eventually("the end of the download", () => hub.left === 1);
  hub.hold = undefined;
  t.equal(await (await blob(digestOf("layer one"))).text(), "layer one");
  release.resolve();
});

t.test("a layer that breaks off ends the responses of its clients, leaves no file open, and is loaded again", async (t) => {
  const hub = await openHub(t);
  await hub.push("library/app", "1", "layer one");
  const folder = tempFolder(t);
  const { blob } = await openCached(t, hub, { folder });
  const release = Promise.withResolvers<void>();
  hub.hold = release.promise;
  const answers = await Promise.all([blob(digestOf("layer one")), blob(digestOf("layer one"))]);
  const openFiles = () => readdirSync("/proc/self/fd").filter((fd) => linkOf(`/proc/self/fd/${fd}`).startsWith(folder));
  t.equal(openFiles().length, 1);
  release.reject(new Error("the connection breaks"));
  for (const answer of answers) await t.rejects(answer.text());
  await eventually("no file to be open", () => openFiles().length === 0);
  t.same(readdirSync(join(folder, "drafts")), []);
  hub.hold = undefined;
  t.equal(await (await blob(digestOf("layer one"))).text(), "layer one");
});

t.test("a layer whose only client leaves before it begins is given up, and so are those that wait for their turn", async (t) => {
  const hub = await openHub(t);
  const layers = Array.from({ length: MOST }, (_, nth) => `layer ${nth}`);
  await hub.push("library/app", "1", ...layers, "another layer");
  const { blob, metric, cacheConnections } = await openCached(t, hub);
  const release = Promise.withResolvers<void>();
  hub.holdHead = release.promise;
  const [left, leftFirst] = [new AbortController(), new AbortController()];
  const answers = layers.map((layer) => blob(digestOf(layer), { signal: left.signal }));
  await eventually("the downloads", () => blobRequests(hub) === MOST);
  const waiting = blob(digestOf("another layer"), { signal: leftFirst.signal });
  await eventually("the client that waits", () => cacheConnections() === MOST + 1);
  leftFirst.abort();
  await t.rejects(waiting);
  await eventually("its end", () => cacheConnections() === MOST);
  left.abort();
  for (const answer of answers) await t.rejects(answer);
  await eventually("the end of the downloads", () => hub.left === MOST);
  t.equal(blobRequests(hub), MOST, "the one that waited was not begun");
  t.notOk(
    (await metric("berth_registry_cache_requests_total")).some((one) => one["result"] === "failed"),
    "a client that leaves is no failure",
  );

  hub.holdHead = undefined;
  release.resolve();
  for (const layer of layers) t.equal(await (await blob(digestOf(layer))).text(), layer, "the next client gets it");
});

t.test("a client that leaves before the layer begins does not end it for another", async (t) => {
  const hub = await openHub(t);
  await hub.push("library/app", "1", "layer one");
  const { blob, cacheConnections } = await openCached(t, hub);
  const release = Promise.withResolvers<void>();
  hub.holdHead = release.promise;
  const left = new AbortController();
  const first = blob(digestOf("layer one"), { signal: left.signal });
  await eventually("the download", () => blobRequests(hub) === 1);
  const second = blob(digestOf("layer one"));
  await eventually("the second client", () => cacheConnections() === 2);
  left.abort();
  await t.rejects(first);
  release.resolve();
  t.equal(await (await second).text(), "layer one");
});

t.test(
  "a layer that one repository does not have is loaded from another that has it, also for a client that joined the first download",
  async (t) => {
    const hub = await openHub(t);
    await hub.push("library/app", "1", "layer one");
    const { blob, call, cacheConnections } = await openCached(t, hub);
    const release = Promise.withResolvers<void>();
    hub.holdHead = release.promise;
    const other = "docker.io/library/other";
    const first = call(`/v2/${other}/blobs/${digestOf("layer one")}`, { scopes: [`repository:${other}:pull`] });
    await eventually("the download", () => blobRequests(hub) === 1);
    const second = blob(digestOf("layer one"));
    await eventually("the second client", () => cacheConnections() === 2);
    release.resolve();
    t.equal((await first).status, 404);
    t.equal(await (await second).text(), "layer one");
    t.equal(blobRequests(hub), 2);
  },
);

t.test("clients share the downloads: one that loads many layers leaves places for the others", async (t) => {
  const hub = await openHub(t);
  const layers = Array.from({ length: MOST + 2 }, (_, nth) => `layer ${nth}`);
  const own = ["of bob", "of an address", "of another address"];
  await hub.push("library/app", "1", ...layers, ...own);
  for (const anonymousPull of [false, true]) {
    const { blob, base, tokens, cacheConnections } = await openCached(t, hub, { anonymousPull }, { trusted: ["127.0.0.1"] });
    const release = Promise.withResolvers<void>();
    hub.hold = release.promise;
    hub.requests.length = 0;
    const headers = { "x-forwarded-for": "10.0.0.1" };
    const load = (layer: string) => blob(digestOf(layer), { headers });
    const loading = layers.slice(0, MOST).map(load);
    await eventually("as many as one client may load", () => blobRequests(hub) === MOST);
    const waiting = layers.slice(MOST).map(load);
    await eventually("those beyond them to wait", () => cacheConnections() === layers.length);
    t.equal(blobRequests(hub), MOST);
    const as = async (sub: string) => {
      const access = [{ type: "repository", name: "docker.io/library/app", actions: ["pull"] }];
      return { authorization: `Bearer ${await tokens.sign({ sub, access })}` };
    };
    const other = anonymousPull ? { "x-forwarded-for": "10.0.0.2", "x-berth-cache-client": "address 10.0.0.1" } : await as("bob");
    const answer = await fetch(`${base}/v2/docker.io/library/app/blobs/${digestOf("of bob")}`, { headers: other });
    t.equal(answer.status, 200, "at once, though the first client waits");
    t.equal(blobRequests(hub), MOST + 1);
    const shared = await fetch(`${base}/v2/docker.io/library/app/blobs/${digestOf(layers[MOST] ?? "")}`, { headers: other });
    t.equal(shared.status, 200, "also a layer for which the first client waits");
    t.equal(blobRequests(hub), MOST + 2);
    release.resolve();
    t.equal(await answer.text(), "of bob");
    t.equal(await shared.text(), layers[MOST]);
    for (const [nth, answer] of [...loading, ...waiting].entries()) t.equal(await (await answer).text(), layers[nth]);
    hub.hold = undefined;
  }
});

t.test("only signed-in users pull through the cache, unless all may; a push is refused", async (t) => {
  const hub = await openHub(t);
  await hub.push("library/app", "1", "layer one");
  const { manifest, call, base } = await openCached(t, hub);
  const none = await fetch(`${base}/v2/docker.io/library/app/manifests/1`);
  t.equal(none.status, 401);
  t.match(none.headers.get("www-authenticate"), /scope="repository:docker\.io\/library\/app:pull"/);
  t.equal((await fetch(`${base}/v2/other/manifests/1`)).status, 404, "pulls from the registry itself stay public");
  const push = { scopes: ["repository:docker.io/library/app:pull,push"], method: "POST" };
  t.match(await (await call("/v2/docker.io/library/app/blobs/uploads/", push)).json(), { errors: [{ code: "UNSUPPORTED" }] });
  t.equal((await manifest("latest")).status, 404);

  const open = await openCached(t, hub, { anonymousPull: true });
  t.equal((await fetch(`${open.base}/v2/docker.io/library/app/manifests/1`)).status, 200);
});

t.test("the login goes to the token server, and a wrong one is reported without its password", async (t) => {
  const hub = await openHub(t, "s3cr3t");
  await hub.push("library/app", "1", "layer one");
  const right = await openCached(t, hub, { login: { username: "me", password: "s3cr3t" } });
  t.equal((await right.manifest("1")).status, 200);
  t.same(new Set(hub.logins), new Set(["me"]));
  const wrong = await openCached(t, hub, { login: { username: "me", password: "wr0ng" } });
  const refused = await wrong.manifest("1");
  const text = await refused.text();
  t.match({ status: refused.status, text }, { status: 502, text: /BERTH_REGISTRY_CACHE_LOGINS/ });
  t.notMatch(text, /wr0ng/);
});

t.test("a repository that the token server refuses is refused alone: others are pulled", async (t) => {
  for (const password of ["s3cr3t", undefined])
    for (const status of [401, 403]) {
      const hub = await openHub(t, password);
      await hub.push("library/app", "1", "layer one");
      hub.refused.set("no/such", status);
      const { call, manifest } = await openCached(t, hub, password === undefined ? {} : { login: { username: "me", password } });
      const none = await call("/v2/docker.io/no/such/manifests/1", { scopes: ["repository:docker.io/no/such:pull"], headers: ACCEPT });
      t.match(
        { status: none.status, body: await none.json() },
        { status: 403, body: { errors: [{ code: "DENIED", message: /no such repository/ }] } },
      );
      t.equal((await manifest("1")).status, 200, "another repository, at once");
    }
});

t.test("a copy is not served as stale of what its registry refuses, also not when it is away after that", async (t) => {
  const hub = await openHub(t);
  await hub.push("library/app", "1", "layer one");
  // A token is valid for minutes: here the registry itself refuses.
  const { manifest } = await openCached(t, hub);
  t.equal((await manifest("1")).status, 200);
  for (const status of [401, 403, 451]) {
    hub.denies = status;
    const refused = await manifest("1");
    t.match({ status: refused.status, body: await refused.json() }, { status: 403, body: { errors: [{ code: "DENIED" }] } }, String(status));
    hub.denies = undefined;
    hub.isAway = true;
    t.equal((await manifest("1")).status, 502);
    hub.isAway = false;
    await eventually("the end of the pause", async () => (await manifest("1")).status === 200);
  }
});

t.test("a manifest is named by a tag or a digest; other names are not found, and reach neither the disk nor the registry", async (t) => {
  const hub = await openHub(t);
  const digest = await hub.push("library/app", "1", "layer one");
  const { manifest, blob } = await openCached(t, hub);
  for (const reference of ["..:..x", "foo:bar", "foo%3Abar", "sha256:abc", `md5:${"a".repeat(32)}`, "%E0%A4%A", "a".repeat(129)])
    t.equal((await manifest(reference)).status, 404, reference);
  t.equal((await blob("%E0%A4%A")).status, 404);
  t.same(hub.requests, []);
  t.equal((await manifest(digest.replace(":", "%3A"))).status, 200);
});

t.test("a client names the registry in the repository, as containerd in the query, or by the host of a mirror", async (t) => {
  const hub = await openHub(t);
  await hub.push("library/app", "1", "layer one");
  const { base, call, port } = await openCached(t, hub, { anonymousPull: true, mirrorHost: "localhost" });
  const status = async (url: string) => (await fetch(url)).status;
  t.equal(await status(`${base}/v2/docker.io/library/app/manifests/1`), 200);
  t.equal(await status(`${base}/v2/library/app/manifests/1?ns=docker.io`), 200);
  t.equal(await status(`${base}/v2/docker.io/library/app/manifests/1?ns=docker.io`), 200);
  t.equal(await status(`http://localhost:${port}/v2/library/app/manifests/1`), 200);
  t.equal(await status(`${base}/v2/library/app/manifests/1`), 404);
  t.equal(await status(`${base}/v2/library/app/manifests/1?ns=ghcr.io`), 404);

  await hub.push("library/app", "2", "layer one");
  const page = await call("/v2/library/app/tags/list?ns=docker.io&n=1");
  t.same(((await page.json()) as { tags: string[] }).tags.toSorted(), ["1", "2"]);
  t.match(page.headers.get("link"), /^<\/v2\/library\/app\/tags\/list\?.*last=1/);
});

t.test("layers that arrive have their space within the size limit before the first byte, and a layer beyond half of it is refused", async (t) => {
  const hub = await openHub(t);
  const layers = ["a", "b", "c"].map((letter) => letter.repeat(1_000_000));
  const large = "x".repeat(1_300_000);
  for (const layer of [...layers, large]) await hub.push("library/app", layer.slice(0, 1), layer);
  const folder = tempFolder(t);
  const { blob } = await openCached(t, hub, { folder, maxBytes: 2_500_000 });
  const refused = await blob(digestOf(large));
  t.match({ status: refused.status, text: await refused.text() }, { status: 403, text: /DENIED.*1300000 bytes.*BERTH_REGISTRY_CACHE_MAX_GB/ });
  const release = Promise.withResolvers<void>();
  hub.hold = release.promise;
  const [one, other] = await Promise.all(layers.slice(0, 2).map((layer) => blob(digestOf(layer))));
  t.match([one?.status, other?.status], [200, 200]);
  const third = await blob(digestOf(layers[2] ?? ""));
  t.match({ status: third.status, text: await third.text() }, { status: 502, text: /fill the cache/ });
  t.equal(readdirSync(join(folder, "drafts")).length, 2, "nothing is left of those refused");
  release.resolve();
  t.equal(await one?.text(), layers[0]);
  t.equal(await other?.text(), layers[1]);
  hub.hold = undefined;
  t.equal(await (await blob(digestOf(layers[2] ?? ""))).text(), layers[2], "the space is free again");
});

t.test("a tag that was checked before the clock was set back is checked again", async (t) => {
  const hub = await openHub(t);
  await hub.push("library/app", "1", "layer one");
  let aheadMs = 3_600_000;
  const { manifest } = await openCached(t, hub, { freshMs: 60_000, clock: { ...systemClock(), now: () => Date.now() + aheadMs } });
  t.equal((await manifest("1")).status, 200);
  aheadMs = 0;
  const digest = await hub.push("library/app", "1", "layer two");
  t.equal((await manifest("1")).headers.get("docker-content-digest"), digest);
});

t.test("what was not pulled for longest goes when the cache is full, and after its time", async (t) => {
  const hub = await openHub(t);
  const layers = ["a", "b", "c"].map((letter) => letter.repeat(1_000_000));
  for (const layer of layers) await hub.push("library/app", layer.slice(0, 1), layer);
  const folder = tempFolder(t);
  const { blob, metric } = await openCached(t, hub, { folder, maxBytes: 2_500_000 });
  for (const layer of layers) await (await blob(digestOf(layer))).text();
  const isStored = (layer = "") => existsSync(join(folder, "blobs/sha256", digestOf(layer).slice(7, 9), digestOf(layer).slice(7)));
  await eventually("the oldest to go", async () => !isStored(layers[0]) && isStored(layers[2]));
  t.ok(((await metric("berth_registry_cache_bytes"))[0]?.value ?? 0) < 2_250_000);
  const loads = () => hub.requests.filter((request) => request.includes("/blobs/")).length;
  t.equal(loads(), 3);
  await (await blob(digestOf(layers[2] ?? ""))).text();
  t.equal(loads(), 3, "the last one stayed");
  await (await blob(digestOf(layers[0] ?? ""))).text();
  t.equal(loads(), 4, "the first one went");

  const later = await openCached(t, hub, { folder, clock: { ...systemClock(), now: () => Date.now() + 2e9 } });
  await eventually("all to go", async () => (await later.metric("berth_registry_cache_bytes"))[0]?.value === 0);
});

t.test("what a process had begun to load before it died counts, and goes after an hour", async (t) => {
  const hub = await openHub(t);
  const layers = ["a", "b"].map((letter) => letter.repeat(1_000_000));
  await hub.push("library/app", "1", ...layers);
  const folder = tempFolder(t);
  const draft = join(folder, "drafts", "left");
  mkdirSync(join(folder, "drafts"));
  writeFileSync(draft, Buffer.alloc(1_000_000));
  const { blob, metric } = await openCached(t, hub, { folder, maxBytes: 2_500_000 });
  const bytesOf = async (of: typeof metric) => (await of("berth_registry_cache_bytes"))[0]?.value;
  await eventually("it to count", async () => (await bytesOf(metric)) === 1_000_000);
  for (const layer of layers) await (await blob(digestOf(layer))).text();
  const isStored = (layer = "") => existsSync(join(folder, "blobs/sha256", digestOf(layer).slice(7, 9), digestOf(layer).slice(7)));
  await eventually("the first layer to make way for the second", async () => !isStored(layers[0]) && isStored(layers[1]));

  const later = await openCached(t, hub, { folder, maxBytes: 2_500_000, clock: { ...systemClock(), now: () => Date.now() + 2 * 3_600_000 } });
  await eventually("it to go", async () => !existsSync(draft) && (await bytesOf(later.metric)) === 1_000_000);
});

t.test("a layer beyond those that may wait is refused as berth's own limit", async (t) => {
  const hub = await openHub(t);
  await hub.push("library/app", "1", "layer one");
  const { blob } = await openCached(t, hub);
  const [release, left] = [Promise.withResolvers<void>(), new AbortController()];
  hub.holdHead = release.promise;
  const flood = Array.from({ length: MOST + DOWNLOADS.waitingOfOne + 1 }, (_, nth) => blob(digestOf(`layer ${nth}`), { signal: left.signal }));
  const refused = await Promise.race(flood);
  t.equal(refused.status, 502);
  t.match(await refused.json(), { errors: [{ message: /^berth loads too many other layers of docker\.io/i }] });
  left.abort();
  await Promise.allSettled(flood);
  release.resolve();
});
