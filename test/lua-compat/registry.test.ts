import { createHmac } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exportSPKI } from "jose";
import { systemClock } from "../../lib/clock.ts";
import { openUpstream } from "../../gateway/registry/upstream/open-upstream.ts";
import { openLog } from "../../lib/log.ts";
import { openEcr } from "../gateway/registry/upstream/moto.ts";
import t, { type Test } from "tap";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openDistribution } from "../gateway/registry/distribution.ts";
import { htpasswd, LOGIN } from "../gateway/registry/upstream/distribution.ts";
import { openStand } from "../gateway/registry/stand.ts";
import { imageFolder } from "../gateway/registry/image-folder.ts";
import { run } from "../gateway/registry/run.ts";
import { DEV_KEY, openTokenServer, type TokenServer } from "../gateway/registry/token-server.ts";
import { openLuaProxy, openNginx } from "./nginx.ts";

/** nginx with Lua in the place of grok_registry_proxy, and nginx in front of berth's registry, on the very files of lua-compat. */

const MANIFEST = "application/vnd.oci.image.index.v1+json";
const EMPTY = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, manifests: [] });

async function openLua(t: Test, env: Record<string, string> = {}, more: Parameters<typeof openDistribution>[1] = {}) {
  const registry = await openDistribution(t, more);
  const tokens = await openTokenServer(t);
  const nginx = await openLuaProxy(t, { DATAGROK_URL: tokens.url, REGISTRY_URL: registry.host, ...env });
  const put = (token: string, repository = "a/b") =>
    fetch(`${nginx.base}/v2/${repository}/manifests/one`, {
      method: "PUT",
      headers: { authorization: `Bearer ${token}`, "content-type": MANIFEST },
      body: EMPTY,
    });
  return { registry, tokens, nginx, put };
}

const mayPush = (repository = "a/b") => ({ access: [{ type: "repository", name: repository, actions: ["pull", "push"] }] });
const b64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** HS256, keyed with what everybody can read. */
async function signedWithPublicKey(tokens: TokenServer): Promise<string> {
  const jwks = await (await fetch(`${tokens.url}/docker/keys`)).text();
  const now = Math.floor(Date.now() / 1_000);
  const unsigned = `${b64({ alg: "HS256", kid: tokens.signer().kid })}.${b64({ iss: tokens.issuer, aud: "docker-registry", exp: now + 600, lim: "docker", ...mayPush() })}`;
  return `${unsigned}.${createHmac("sha256", jwks).update(unsigned).digest("base64url")}`;
}

t.test("only a client with a valid token pushes", async (t) => {
  const { tokens, put, nginx } = await openLua(t);
  const now = Math.floor(Date.now() / 1_000);
  t.equal((await put(await tokens.sign(mayPush()))).status, 201);
  const [head = "", body = "", signature = ""] = (await tokens.sign(mayPush())).split(".");
  const refused: [says: string, token: string][] = [
    ["alg none", `${b64({ alg: "none" })}.${body}.${signature}`],
    ["HS256 with the public key", await signedWithPublicKey(tokens)],
    ["a changed body", `${head}.${b64({ iss: tokens.issuer, aud: "docker-registry", exp: now + 600, lim: "docker" })}.${signature}`],
    ["no signature", `${head}.${body}.AAAA`],
    ["a key id that is a path", await tokens.sign(mayPush(), { kid: "../../../dev/null" })],
    ["a key of its own", await tokens.sign(mayPush(), { kid: "mine", jku: "http://127.0.0.1:1/" })],
    ["without exp", await tokens.sign({ ...mayPush(), exp: undefined })],
    ["expired", await tokens.sign({ ...mayPush(), exp: now - 120 })],
    ["not yet valid", await tokens.sign({ ...mayPush(), nbf: now + 120 })],
    ["for another audience", await tokens.sign({ ...mayPush(), aud: "another" })],
    ["of another issuer", await tokens.sign({ ...mayPush(), iss: "http://evil.example" })],
    ["not for registries", await tokens.sign({ ...mayPush(), lim: undefined })],
    ["for another repository", await tokens.sign(mayPush("a/c"))],
    ["longer than any is", await tokens.sign({ ...mayPush(), more: "x".repeat(20_000) })],
  ];
  for (const [says, token] of refused) {
    const answer = await put(token);
    t.equal(answer.status, 401, says);
    t.match(
      answer.headers.get("www-authenticate"),
      /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/token",service="docker-registry",scope="repository:a\/b:pull,push",error="/,
    );
  }
  t.equal((await put(await tokens.sign({ ...mayPush(), nbf: now + 30, exp: now - 30 }))).status, 201, "clocks may be 60 s apart");
  t.notMatch(nginx.errors(), /\[(?:error|crit|alert|emerg)\]/);
});

t.test("keys are requested once for any number of unknown ids, and rotation needs no restart", async (t) => {
  const { tokens, put } = await openLua(t);
  t.equal((await put(await tokens.sign(mayPush()))).status, 201);
  const before = tokens.keyRequests;
  for (let i = 0; i < 5; i++) t.equal((await put(await tokens.sign(mayPush(), { kid: `invented-${i}` }))).status, 401);
  t.ok(tokens.keyRequests - before <= 1);
});

t.test("a key that came since is found, and one that was known is used while its server is away", async (t) => {
  const { tokens, put, nginx } = await openLua(t);
  const old = await tokens.sign(mayPush());
  await tokens.rotate("second", false);
  t.equal((await put(await tokens.sign(mayPush()))).status, 201);
  t.equal((await put(old)).status, 401);
  tokens.away = true;
  t.equal((await put(await tokens.sign(mayPush("a/b")))).status, 201);
  t.equal((await fetch(`${nginx.base}/v2/a/b/manifests/one`, { headers: { accept: MANIFEST } })).status, 200);
});

t.test("keys may be published as one PEM or as PEMs by name, too", async (t) => {
  for (const publish of [
    async (keys: { publicKey: CryptoKey }[]) => exportSPKI((keys[0] as { publicKey: CryptoKey }).publicKey),
    async (keys: { kid: string; publicKey: CryptoKey }[]) =>
      JSON.stringify(Object.fromEntries(await Promise.all(keys.map(async ({ kid, publicKey }) => [kid, await exportSPKI(publicKey)])))),
  ]) {
    const { tokens, put } = await openLua(t);
    tokens.publish = publish as TokenServer["publish"];
    t.equal((await put(await tokens.sign(mayPush()))).status, 201);
  }
});

t.test("the registry behind gets the credential of berth's token file, as it is now", async (t) => {
  const folder = tempFolder(t);
  const file = join(folder, "token");
  writeFileSync(
    file,
    `repository:a/b:pull ${Math.floor(Date.now() / 1_000) + 600} Basic ${Buffer.from(`${LOGIN.username}:${LOGIN.password}`).toString("base64")}\n`,
  );
  const { nginx } = await openLua(t, { BERTH_REGISTRY_TOKEN_FILE: file }, { beside: htpasswd(folder) });
  const reply = await fetch(`${nginx.base}/v2/a/b/tags/list`);
  t.equal(reply.status, 404);
  t.match(await reply.json(), { errors: [{ code: "NAME_UNKNOWN" }] });
  const unknown = await fetch(`${nginx.base}/v2/a/c/tags/list`);
  t.equal(unknown.status, 403);
  t.equal(unknown.headers.get("www-authenticate"), null);
});

t.test("ECR's credential is in the file that berth writes beside it, where nginx finds it", async (t) => {
  const folder = tempFolder(t);
  const tokenFile = join(folder, "registry-token");
  const { nginx, registry, put, tokens } = await openLua(t, { BERTH_REGISTRY_TOKEN_FILE: tokenFile }, { beside: htpasswd(folder) });
  await openEcr(t, { registry: registry.host });
  const berth = await openUpstream(
    { url: undefined, username: undefined, password: undefined, ecrMode: true, awsRegion: "eu-west-1", tokenFile },
    { clock: systemClock(), log: openLog({ level: "silent", name: "test" }), signal: new AbortController().signal },
  );
  await berth.authorization({ repository: "a/b", actions: ["pull"] }, new AbortController().signal);
  await berth.close();
  t.match(readFileSync(tokenFile, "utf8"), /^\* \d+ Basic /);
  t.equal((await fetch(`${nginx.base}/v2/a/b/tags/list`)).status, 404);
  t.equal((await put(await tokens.sign(mayPush()))).status, 201);
});

t.test("nginx in front of berth's registry is what clients see", async (t) => {
  const registry = await openDistribution(t);
  const stand = await openStand(t, registry, { trusted: ["127.0.0.1"] });
  const edit = (text: string) => text.replace("127.0.0.1:5000", stand.host);
  const nginx = await openNginx(t, { http: "registry-front-http.conf", server: "registry-front.conf", edit });
  const challenged = await fetch(`${nginx.base}/v2/`);
  t.equal(challenged.status, 401);
  t.equal(challenged.headers.get("www-authenticate"), `Bearer realm="${nginx.base}/token",service="docker-registry"`);
  const token = await stand.token("repository:a/b:pull,push");
  const headers = { authorization: `Bearer ${token}` };
  const begun = await fetch(`${nginx.base}/v2/a/b/blobs/uploads/`, { method: "POST", headers });
  t.equal(begun.status, 202);
  t.ok(begun.headers.get("location")?.startsWith(nginx.base));
});

t.test("skopeo pushes, pulls and deletes through nginx", async (t) => {
  const { nginx } = await openLua(t);
  const image = `docker://127.0.0.1:${nginx.port}/datagrok/through-nginx:1`;
  const policy = ["--insecure-policy", "--tmpdir", tempFolder(t)];
  const key = `any:${DEV_KEY}`;
  const from = imageFolder(t, Buffer.alloc(30_000_000, "layer"));
  t.not((await run("skopeo", [...policy, "copy", "--dest-tls-verify=false", "--dest-creds", "any:wrong", `dir:${from}`, image])).code, 0);
  const pushed = await run("skopeo", [...policy, "copy", "--preserve-digests", "--dest-tls-verify=false", "--dest-creds", key, `dir:${from}`, image]);
  t.equal(pushed.code, 0, pushed.output);
  t.match(await run("skopeo", [...policy, "inspect", "--tls-verify=false", image]), { code: 0, output: /"RepoTags": \[\s*"1"/ });
  const to = tempFolder(t);
  t.match(await run("skopeo", [...policy, "copy", "--src-tls-verify=false", image, `dir:${to}`]), { code: 0 });
  t.equal(readFileSync(join(to, "manifest.json"), "utf8"), readFileSync(join(from, "manifest.json"), "utf8"));
  t.not((await run("skopeo", [...policy, "delete", "--tls-verify=false", image])).code, 0);
  t.match(await run("skopeo", [...policy, "delete", "--tls-verify=false", "--creds", key, image]), { code: 0 });
  t.notMatch(nginx.errors(), /\[(?:error|crit|alert|emerg)\]/);
});
