import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import t, { type Test } from "tap";
import { readSettings } from "../../../conf/read-settings.ts";
import { registryPlace, storageName } from "../../../processes/distribution/registry-storage.ts";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { look } from "../../cli/doctor/look.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { imageFolder } from "./image-folder.ts";
import { openOwn, type Own } from "./own-registry.ts";
import { digestOf, MANIFEST } from "./registry-client.ts";
import { run } from "./run.ts";
import { openMoto } from "./upstream/moto.ts";

/** Debian's docker-registry with its own drivers: S3 of moto, and a folder that two machines share. */
t.setTimeout(600_000);

const BUCKET = "images";
const LOGIN = { keyId: "test-key-id", secret: "a-secret-access-key" };

/** An empty bucket, and the settings for a folder of it. */
async function openBucket(t: Test) {
  const endpoint = `http://127.0.0.1:${await openMoto(t)}`;
  const made = await fetch(`${endpoint}/${BUCKET}`, { method: "PUT" });
  t.equal(made.status, 200);
  const names = async () =>
    [...(await (await fetch(`${endpoint}/${BUCKET}?list-type=2`)).text()).matchAll(/<Key>(.*?)<\/Key>/g)].map(([, key = ""]) => key);
  const env = { BERTH_REGISTRY_STORAGE: `s3://${BUCKET}/berth/registry?region=eu-west-1&endpoint=${encodeURIComponent(endpoint)}` };
  return { env, names };
}

function secretFile(t: Test): string {
  const file = join(tempFolder(t), "secret");
  writeFileSync(file, `${LOGIN.secret}\n`, { mode: 0o600 });
  return file;
}

const skopeo = (t: Test, ...args: string[]) => run("skopeo", ["--insecure-policy", "--tmpdir", tempFolder(t), ...args]);
const imageAt = ({ base }: Own, name: string) => `docker://${new URL(base).host}/${name}`;
const push = (t: Test, own: Own, folder: string, name: string) =>
  skopeo(t, "copy", "--dest-tls-verify=false", "--dest-creds", `any:${ADMIN_KEY}`, `dir:${folder}`, imageAt(own, name));
const pull = (t: Test, own: Own, name: string, to: string) => skopeo(t, "copy", "--src-tls-verify=false", imageAt(own, name), `dir:${to}`);
const digest = async (t: Test, own: Own, name: string) =>
  (await skopeo(t, "inspect", "--tls-verify=false", "--format={{.Digest}}", imageAt(own, name))).output.trim();

t.test("after the loss of a machine, another one has all images of the bucket, and collects its garbage", async (t) => {
  const { env, names } = await openBucket(t);
  const withKeys = { ...env, BERTH_REGISTRY_STORAGE_KEY_ID: LOGIN.keyId, BERTH_REGISTRY_STORAGE_SECRET_FILE: secretFile(t) };
  const first = await openOwn(t, withKeys);
  t.match(await first.command("gc", "--dry-run"), { code: 0, out: /There is no garbage/ }, "before the first push");
  const pushed = await push(t, first, imageFolder(t, randomBytes(3_000_000)), "datagrok/a:1");
  t.equal(pushed.code, 0, pushed.output);
  const other = await first.push("datagrok/b", "1", "a layer that goes");
  const firstDigest = await digest(t, first, "datagrok/a:1");
  t.match(firstDigest, /^sha256:/);
  t.ok((await names()).every((name) => name.startsWith("berth/registry/docker/registry/v2/")));
  t.notMatch(first.berth.output(), LOGIN.secret);
  await first.berth.kill();
  rmSync(first.data, { recursive: true, force: true });

  const second = await openOwn(t, { ...env, AWS_ACCESS_KEY_ID: LOGIN.keyId, AWS_SECRET_ACCESS_KEY: LOGIN.secret });
  const folder = tempFolder(t);
  const pulled = await pull(t, second, "datagrok/a:1", folder);
  t.equal(pulled.code, 0, pulled.output);
  t.equal(await digest(t, second, "datagrok/a:1"), firstDigest);

  const headers = { authorization: `Bearer ${await second.token(["repository:datagrok/b:pull,push,delete"])}` };
  t.equal(await second.status(`/v2/datagrok/b/manifests/${other}`, { method: "DELETE", headers }), 202);
  const before = await names();
  t.match(await second.command("gc"), { code: 2, out: /--alone/ });
  t.match(await second.command("gc", "--dry-run"), { code: 0, out: /^Would remove 2 layers and manifests\.\n/ });
  t.same(await names(), before);
  t.match(await second.command("gc", "--alone"), { code: 0, out: /^Removed 2 layers and manifests\.\n/ });
  const after = await names();
  const hex = digestOf("a layer that goes").slice("sha256:".length);
  t.same(
    [before, after].map((list) => list.some((name) => name.includes(hex) && name.endsWith("/data"))),
    [true, false],
  );
  t.equal(await digest(t, second, "datagrok/a:1"), firstDigest);
  await second.push("datagrok/b", "2", "pushed after it");
  const checked = async (env: Record<string, string>) =>
    (await look(t, ["registry"], { BERTH_REGISTRY: "embedded", ...env }, { registry: second.base, key: ADMIN_KEY }))["registry"];
  t.match(await checked(withKeys), { state: "ok", says: /in s3:\/\/images\/berth\/registry at 127\.0\.0\.1/, problems: { length: 0 } });
  t.match(await checked({ BERTH_DATABASE_URL: "postgres://berth@127.0.0.1/berth" }), {
    problems: [{ kind: "warning", what: /its loss loses them/ }],
  });
  t.match(await second.command("retain", "--keep", "1"), { code: 2, out: /berth registry rm/ });
  t.match(await second.command("gc", "--alone"), { code: 0 });
  await second.berth.stop();
  t.match(await second.command("gc", "--alone"), { code: 0, out: /There is no garbage/ }, "without a berth that runs");
});

t.test("registries of two machines on one shared folder: an upload begun at one continues at the other", async (t) => {
  const shared = { BERTH_REGISTRY_STORAGE: pathToFileURL(join(tempFolder(t), "images")).href, BERTH_CREDENTIALS_KEY: "ab".repeat(32) };
  const [one, two] = [await openOwn(t, shared), await openOwn(t, shared)];
  const upload = async (own: Own) => ({ authorization: `Bearer ${await own.token(["repository:a:pull,push"])}` });
  const begun = await fetch(`${one.base}/v2/a/blobs/uploads/`, { method: "POST", headers: await upload(one) });
  t.equal(begun.status, 202);
  const at = new URL(begun.headers.get("location") ?? "", one.base);
  const there = new URL(`${at.pathname}${at.search}`, two.base);
  there.searchParams.set("digest", digestOf("a layer"));
  t.equal(await two.status(`${there.pathname}${there.search}`, { method: "PUT", headers: await upload(two), body: "a layer" }), 201);
  await one.push("b", "1", "another layer");
  t.equal(await two.status("/v2/b/manifests/1", { headers: { accept: MANIFEST } }), 200);
  t.match(await one.command("gc"), { code: 2, out: /--alone/ });
});

t.test("settings of a storage", (t) => {
  const read = (env: Record<string, string>) =>
    registryPlace(readSettings({ env: { BERTH_DATA: "/data", ...env }, file: undefined }).settings).storage;
  const s3 = (rest: string, more: Record<string, string> = {}) => read({ BERTH_REGISTRY_STORAGE: `s3://${rest}`, ...more });
  t.match(s3("bucket"), { bucket: "bucket", prefix: "", region: "us-east-1", endpoint: undefined, encrypt: false, login: undefined });
  t.match(s3("bucket/a/b/?encrypt=on", { AWS_REGION: "eu-north-1" }), { prefix: "a/b", region: "eu-north-1", encrypt: true });
  t.equal(storageName(s3("bucket/a?endpoint=https://minio.internal:9000")), "s3://bucket/a at minio.internal:9000");
  t.same(read({ BERTH_REGISTRY_STORAGE: "file:///mnt/images" }), { kind: "folder", folder: "/mnt/images", isShared: true });
  t.same(read({ BERTH_REGISTRY: "embedded" }), { kind: "folder", folder: "/data/registry/images", isShared: false });
  const rows: [env: Record<string, string>, expected: RegExp][] = [
    [{ BERTH_REGISTRY_STORAGE: "s3://id:secret@bucket" }, /has credentials/],
    [{ BERTH_REGISTRY_STORAGE: "s3://bucket?acl=public" }, /parameter acl/],
    [{ BERTH_REGISTRY_STORAGE: "s3://bucket?endpoint=minio:9000" }, /endpoint/],
    [{ BERTH_REGISTRY_STORAGE: "s3://bucket?encrypt=yes" }, /encrypt/],
    [{ BERTH_REGISTRY_STORAGE: "s3:///prefix" }, /no bucket/],
    [{ BERTH_REGISTRY_STORAGE: "s3://bucket", BERTH_REGISTRY_STORAGE_KEY_ID: "id" }, /belong together/],
    [{ BERTH_REGISTRY_STORAGE: "s3://bucket", BERTH_REGISTRY_FOLDER: "/images" }, /one of them/],
    [{ BERTH_REGISTRY_STORAGE: "file:///images?region=x" }, /by its path alone/],
  ];
  for (const [env, expected] of rows) t.throws(() => read(env), { code: "SETTINGS_INVALID", message: expected });
  t.end();
});
