import { createHash } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import t from "tap";
import { openDistribution } from "./distribution.ts";
import { openRecorder, openStand } from "./stand.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const A = "/v2/datagrok/a";
const BLOB = "a layer of an image";
const digestOf = (bytes: string) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const LAYER = { mediaType: "application/vnd.oci.image.layer.v1.tar", size: BLOB.length, digest: digestOf(BLOB) };
const IMAGE = JSON.stringify({
  schemaVersion: 2,
  mediaType: MANIFEST,
  config: { ...LAYER, mediaType: "application/vnd.oci.image.config.v1+json" },
  layers: [LAYER],
});
const ABSENT = `sha256:${"0".repeat(64)}`;

type Ask = { method: string; path: string; headers?: Record<string, string>; body?: string };

const ASKS: Ask[] = [
  { method: "GET", path: `${A}/manifests/1`, headers: { accept: MANIFEST } },
  { method: "HEAD", path: `${A}/manifests/1`, headers: { accept: MANIFEST } },
  { method: "GET", path: `${A}/manifests/${digestOf(IMAGE)}`, headers: { accept: MANIFEST } },
  { method: "GET", path: `${A}/manifests/1`, headers: { accept: MANIFEST, "if-none-match": `"${digestOf(IMAGE)}"` } },
  { method: "GET", path: `${A}/manifests/unknown` },
  { method: "HEAD", path: `${A}/manifests/unknown` },
  { method: "GET", path: `${A}/blobs/${LAYER.digest}` },
  { method: "HEAD", path: `${A}/blobs/${LAYER.digest}` },
  { method: "GET", path: `${A}/blobs/${LAYER.digest}`, headers: { range: "bytes=2-6" } },
  { method: "GET", path: `${A}/blobs/${LAYER.digest}`, headers: { range: "bytes=900-" } },
  { method: "GET", path: `${A}/blobs/${ABSENT}` },
  { method: "GET", path: `${A}/tags/list` },
  { method: "GET", path: `${A}/tags/list?n=1` },
  { method: "GET", path: "/v2/datagrok/unknown/tags/list" },
  { method: "GET", path: "/v2/_catalog?n=1" },
  { method: "PUT", path: `${A}/manifests/1`, headers: { "content-type": MANIFEST }, body: IMAGE },
  { method: "PUT", path: `${A}/manifests/2`, headers: { "content-type": MANIFEST }, body: "{}" },
  { method: "POST", path: `${A}/blobs/uploads/` },
  { method: "POST", path: `${A}/blobs/uploads/?mount=${LAYER.digest}&from=datagrok/b` },
  { method: "POST", path: `${A}/blobs/uploads/?digest=${ABSENT}`, body: BLOB },
  { method: "PATCH", path: `${A}/blobs/uploads/2c8b1dd0-9d1d-4a4e-a3a5-000000000000?_state=x`, body: BLOB },
  { method: "DELETE", path: `${A}/manifests/${ABSENT}` },
  { method: "DELETE", path: `${A}/blobs/${ABSENT}` },
];

/** Of the connection, not of the answer; and the time. */
const OF_THE_WAY = ["date", "connection", "keep-alive"];

t.test("what a client sees of a registry through the proxy is what it sees directly, but for names of hosts", async (t) => {
  const registry = await openDistribution(t);
  const stand = await openStand(t, registry);
  const authorization = `Bearer ${await stand.token("repository:datagrok/a:pull,push,delete", "repository:datagrok/b:pull", "registry:catalog:*")}`;

  const exchanged = async (host: string, { method, path, headers, body }: Ask) => {
    const own = { ...headers, ...(host === stand.host ? { authorization } : {}), ...(body === undefined ? {} : { "content-length": body.length }) };
    const asking = request({ host: "127.0.0.1", port: host.split(":")[1], method, path, headers: own, agent: false }).end(body);
    const [answer] = (await once(asking, "response")) as [IncomingMessage];
    const lines: string[] = [];
    for (let at = 0; at < answer.rawHeaders.length; at += 2) {
      const [name = "", value = ""] = answer.rawHeaders.slice(at, at + 2);
      // Each upload has a name and a state of its own.
      const same = value.replaceAll(host, "{host}").replace(/[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}/g, "{id}");
      if (!OF_THE_WAY.includes(name.toLowerCase())) lines.push(`${name}: ${same.replace(/_state=[^&]+/, "_state={state}")}`);
    }
    // What is edited stands at the end.
    return { status: `${answer.statusCode} ${answer.statusMessage}`, lines: lines.toSorted(), body: await text(answer) };
  };

  for (const repository of ["datagrok/a", "datagrok/b"]) {
    const begun = await fetch(`http://${registry.host}/v2/${repository}/blobs/uploads/`, { method: "POST" });
    t.equal((await fetch(`${begun.headers.get("location")}&digest=${LAYER.digest}`, { method: "PUT", body: BLOB })).status, 201);
    for (const tag of ["1", "other"]) {
      const at = `http://${registry.host}/v2/${repository}/manifests/${tag}`;
      t.equal((await fetch(at, { method: "PUT", headers: { "content-type": MANIFEST }, body: IMAGE })).status, 201);
    }
  }
  for (const ask of ASKS) {
    const direct = await exchanged(registry.host, ask);
    t.strictSame(await exchanged(stand.host, ask), direct, `${ask.method} ${ask.path} ${direct.status}`);
  }
});

t.test("referrers of an image are requested and answered as they are", async (t) => {
  const index = JSON.stringify({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: [] });
  const registry = await openRecorder(t, (_, response) =>
    response.writeHead(200, { "content-type": "application/vnd.oci.image.index.v1+json", "oci-filters-applied": "artifactType" }).end(index),
  );
  const { call } = await openStand(t, registry);
  const path = `${A}/referrers/${ABSENT}?artifactType=application%2Fvnd.example.sbom%2Bjson`;
  const answer = await call(path);
  t.equal(answer.status, 200);
  t.equal(answer.headers.get("oci-filters-applied"), "artifactType");
  t.equal(answer.headers.get("content-type"), "application/vnd.oci.image.index.v1+json");
  t.equal(await answer.text(), index);
  t.equal(registry.requests[0]?.url, path);
});
