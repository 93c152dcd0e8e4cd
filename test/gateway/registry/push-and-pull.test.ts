import { createHash } from "node:crypto";
import t, { type Test } from "tap";
import { openDistribution } from "./distribution.ts";
import { openStand, basic } from "./stand.ts";
import { DEV_KEY, SERVICE } from "./token-server.ts";

const digestOf = (bytes: string | Buffer) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

async function stand(t: Test) {
  return openStand(t, await openDistribution(t));
}

t.test("a client gets the address of the token server, and with a token access", async (t) => {
  const { call, base, tokens } = await stand(t);
  const challenged = await call("/v2/");
  t.equal(challenged.status, 401);
  t.equal(challenged.headers.get("www-authenticate"), `Bearer realm="${base}/token",service="${SERVICE}"`);
  t.equal(challenged.headers.get("docker-distribution-api-version"), "registry/2.0");
  t.match(await challenged.json(), { errors: [{ code: "UNAUTHORIZED" }] });
  const signedIn = await call("/v2/", { scopes: [] });
  t.equal(signedIn.status, 200);
  t.same(await signedIn.json(), {});
  const forged = await call("/v2/", { headers: { authorization: `Bearer ${await tokens.sign({ exp: 1 })}` } });
  t.match(forged.headers.get("www-authenticate"), /error="invalid_token"/);
});

t.test("what is pushed can be pulled, also by who shows nothing", async (t) => {
  const { call, base, pushed } = await stand(t);
  const blob = "a layer";
  const scopes = ["repository:datagrok/a:pull,push"];
  const begun = await call("/v2/datagrok/a/blobs/uploads/", { method: "POST", scopes });
  t.equal(begun.status, 202);
  const first = begun.headers.get("location") ?? "";
  t.ok(first.startsWith(`${base}/v2/datagrok/a/blobs/uploads/`), first);
  t.match(first, /\?_state=/);
  const sent = await call(first, { method: "PATCH", scopes, body: new Blob([blob]).stream(), duplex: "half" });
  t.equal(sent.status, 202);
  const put = await call(`${sent.headers.get("location")}&digest=${digestOf(blob)}`, { method: "PUT", scopes });
  t.equal(put.status, 201);
  t.equal(put.headers.get("location"), `${base}/v2/datagrok/a/blobs/${digestOf(blob)}`);
  const config = { mediaType: "application/vnd.oci.image.config.v1+json", size: blob.length, digest: digestOf(blob) };
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers: [] });
  const tagged = await call("/v2/datagrok/a/manifests/1", { method: "PUT", scopes, body: manifest, headers: { "content-type": MANIFEST } });
  t.equal(tagged.status, 201);
  t.same(pushed, [{ repository: "datagrok/a", reference: "1", by: "ada" }]);

  t.equal(await (await call("/v2/datagrok/a/manifests/1", { headers: { accept: MANIFEST } })).text(), manifest);
  t.equal(await (await call(`/v2/datagrok/a/blobs/${digestOf(blob)}`)).text(), blob);
  const part = await call(`/v2/datagrok/a/blobs/${digestOf(blob)}`, { headers: { range: "bytes=2-3", authorization: "Bearer nonsense" } });
  t.equal(part.status, 206);
  t.equal(await part.text(), "la");
});

t.test("tags and repositories come in pages, each of which leads to the next one here", async (t) => {
  const { call } = await stand(t);
  const scopes = ["repository:datagrok/a:pull,push", "repository:datagrok/b:pull,push", "registry:catalog:*"];
  const blob = "{}";
  for (const repository of ["datagrok/a", "datagrok/b"]) {
    const begun = await call(`/v2/${repository}/blobs/uploads/`, { method: "POST", scopes });
    await call(`${begun.headers.get("location")}&digest=${digestOf(blob)}`, { method: "PUT", scopes, body: blob });
    const config = { mediaType: "application/vnd.oci.image.config.v1+json", size: blob.length, digest: digestOf(blob) };
    const body = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers: [] });
    for (const tag of ["1", "2"])
      await call(`/v2/${repository}/manifests/${tag}`, { method: "PUT", scopes, body, headers: { "content-type": MANIFEST } });
    const index = JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [{ mediaType: MANIFEST, size: body.length, digest: digestOf(body), platform: { os: "linux", architecture: "amd64" } }],
    });
    const type = { "content-type": "application/vnd.oci.image.index.v1+json" };
    t.equal((await call(`/v2/${repository}/manifests/index`, { method: "PUT", scopes, body: index, headers: type })).status, 201);
  }
  const { tags } = (await (await call("/v2/datagrok/a/tags/list")).json()) as { tags: string[] };
  t.same(new Set(tags), new Set(["1", "2", "index"]));
  const first = await call("/v2/_catalog?n=1", { scopes });
  t.same(await first.json(), { repositories: ["datagrok/a"] });
  const [, next = ""] = /^<([^>]+)>; rel="next"$/.exec(first.headers.get("link") ?? "") ?? [];
  t.same(await (await call(next, { scopes })).json(), { repositories: ["datagrok/b"] });
});

t.test("who shows nothing pushes nothing", async (t) => {
  const { call, base } = await stand(t);
  const refused = await call("/v2/a/blobs/uploads/", { method: "POST" });
  t.equal(refused.status, 401);
  t.equal(refused.headers.get("www-authenticate"), `Bearer realm="${base}/token",service="${SERVICE}",scope="repository:a:pull,push"`);
  const other = await call("/v2/a/blobs/uploads/", { method: "POST", scopes: ["repository:b:pull,push"] });
  t.equal(other.status, 401);
  t.match(other.headers.get("www-authenticate"), /error="insufficient_scope"/);
  t.match(await other.json(), { errors: [{ code: "DENIED" }] });
});

t.test("for pulling, every client gets a token that grants nothing; for pushing, only a client with a key", async (t) => {
  const { call, base, tokens } = await stand(t);
  const read = await call("/token?service=x&scope=repository:a:pull&scope=repository:b:pull");
  t.equal(read.status, 200);
  const { token, access_token, expires_in } = (await read.json()) as { token: string; access_token: string; expires_in: number };
  t.equal(token, access_token);
  t.ok(expires_in >= 60);
  t.equal((await call("/v2/a/blobs/uploads/", { method: "POST", headers: { authorization: `Bearer ${token}` } })).status, 401);
  for (const scope of ["repository(plugin):a:pull", "repository:a:pull,pull"]) t.equal((await call(`/token?scope=${scope}`)).status, 200, scope);
  t.equal((await call("/token?scope=repository(plugin):a:push")).status, 401);
  t.equal((await call("/token?scope=repository:a:pull,push")).status, 401);
  t.equal((await call("/token?scope=repository:a:pull%20repository:b:push")).status, 401);
  t.same(tokens.requests, []);
  t.equal((await fetch(`${base}/token`, { headers: { authorization: basic("wrong") } })).status, 401);
  for (const query of ["", "&service="]) {
    const answer = await fetch(`${base}/token?scope=repository:a:push${query}`, { headers: { authorization: basic(DEV_KEY) } });
    const authorization = `Bearer ${((await answer.json()) as { token: string }).token}`;
    t.equal((await call("/v2/a/blobs/uploads/", { method: "POST", headers: { authorization } })).status, 202, "for who names no service, this is it");
  }
  const form = new URLSearchParams({ grant_type: "password", username: "any", password: DEV_KEY, service: SERVICE, scope: "repository:a:push" });
  for (const named of [true, false]) {
    if (!named) form.delete("service");
    const { access_token: pushing } = (await (await fetch(`${base}/token`, { method: "POST", body: form })).json()) as { access_token: string };
    t.equal((await call("/v2/a/blobs/uploads/", { method: "POST", headers: { authorization: `Bearer ${pushing}` } })).status, 202);
  }
});
