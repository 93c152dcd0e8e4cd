import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { readSettings } from "../../conf/read-settings.ts";
import { systemClock } from "../../lib/clock.ts";
import { type Log, openLog } from "../../lib/log.ts";
import { openMetrics } from "../../lib/metrics/open-metrics.ts";
import { openImagePolicy } from "../../processes/configured-image-policy.ts";
import { openConfiguredRegistry } from "../../processes/configured-registry.ts";
import { eventually } from "../fixtures/eventually.ts";
import { createKeylessSigner } from "../fixtures/keyless-signer.ts";
import { createSigner, pushImage } from "../fixtures/signed-images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openDistribution } from "../gateway/registry/distribution.ts";
import { htpasswd, LOGIN, openDistribution as openUpstream } from "../gateway/registry/upstream/distribution.ts";

const { signal } = new AbortController();
const DAY_MS = 24 * 3_600_000;

/** The rules of these settings, on a real registry. `written`: what it logged. */
async function openPolicy(t: Test, host: string, env: Record<string, string>, programs: NodeJS.ProcessEnv = { PATH: process.env["PATH"] }) {
  const { settings } = readSettings({ env: { REGISTRY_URL: host, BERTH_DATA: tempFolder(t), ...env } });
  const clock = systemClock();
  const written: string[] = [];
  const write: Log["info"] = (fields, sentence) => void written.push(`${sentence}: ${JSON.stringify(fields)}`);
  const log: Log = { debug: () => {}, info: write, warn: write, error: write, child: () => log };
  const registry = openConfiguredRegistry(settings, "docker", { clock, log });
  t.teardown(() => registry?.close());
  const policy = await openImagePolicy(settings, { registry, driver: "docker", env: programs, metrics: openMetrics(), clock, log });
  if (!policy) throw new Error("no rules");
  return { policy, written };
}

const packageOf = (...refs: string[]) => ({
  name: "demo",
  author: "ada",
  images: refs.map((ref) => ({ ref, at: "dockerfiles/app" })),
  others: async () => [],
});

t.test("without settings there are no rules", async (t) => {
  const { settings } = readSettings({ env: {} });
  const tools = { registry: undefined, env: {}, metrics: openMetrics(), clock: systemClock(), log: openLog({ level: "silent", name: "test" }) };
  t.equal(await openImagePolicy(settings, { ...tools, driver: "docker" }), undefined);
});

t.test("only an image that an accepted key has signed is used", async (t) => {
  const registry = await openDistribution(t);
  const { host } = registry;
  const [first, second, other] = [createSigner(t), createSigner(t), createSigner(t)];
  const digests: Record<string, string> = {};
  for (const tag of ["first", "second", "other", "none"]) digests[tag] = await pushImage(host, { repository: "datagrok/app", tag });
  const of = (tag: string) => ({ author: "ada", ref: `datagrok/app:${tag}`, digest: digests[tag] as string });
  for (const [tag, signer] of [
    ["first", first],
    ["second", second],
    ["other", other],
  ] as const)
    signer.sign(host, "datagrok/app", of(tag).digest);
  const { policy, written } = await openPolicy(t, host, { BERTH_IMAGE_KEYS: `${first.publicKey},${second.publicKey}` });
  t.same(written, []);
  for (const tag of ["first", "second"]) {
    await policy.requirePackage(packageOf(of(tag).ref), signal);
    await policy.requireImage(of(tag), signal);
  }
  for (const tag of ["other", "none"]) {
    await t.rejects(policy.requirePackage(packageOf(of(tag).ref), signal), {
      code: "PACKAGE_REFUSED",
      message: /^dockerfiles\/app: The image datagrok\/app:\w+ is not signed by an accepted key; BERTH_IMAGE_KEYS needs a signature of cosign\.pub/,
    });
    await t.rejects(policy.requireImage(of(tag), signal), { code: "IMAGE_REFUSED" });
    await t.rejects(policy.requireStart(of(tag), signal), { code: "IMAGE_REFUSED" });
  }
  await t.rejects(policy.requireImage({ author: "ada", ref: "datagrok/local:1" }, signal), {
    code: "IMAGE_REFUSED",
    message: /No registry gave berth the digest of the image/,
  });

  // Signed later, it is accepted: a refusal is not remembered.
  first.sign(host, "datagrok/app", of("none").digest);
  await policy.requireImage(of("none"), signal);

  // A moved tag is another digest.
  const moved = await pushImage(host, { repository: "datagrok/app", tag: "first", layerBytes: 2_048 });
  await t.rejects(policy.requireImage({ author: "ada", ref: of("first").ref, digest: moved }, signal), { code: "IMAGE_REFUSED" });

  // What was verified stays so while the registry is away; what was not is refused.
  await registry.kill();
  await policy.requireStart(of("first"), signal);
  const { policy: restarted } = await openPolicy(t, host, { BERTH_IMAGE_KEYS: first.publicKey });
  await t.rejects(restarted.requireStart(of("first"), signal), {
    code: "REGISTRY_UNREACHABLE",
    message: /^The image datagrok\/app:first is not used, because this server's rules for images could not be checked: /,
  });
  await restarted.requirePackage(packageOf(of("first").ref), signal);
});

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/keyless-signatures.md"), "utf8");
const ISSUER = "https://token.actions.githubusercontent.com";
const IDENTITY = "https://github.com/acme/plugins/.github/workflows/release.yml@refs/tags/v1.2";

t.test(
  "the page's example: an image that an identity has signed without a key is used, by certificates and logs of the settings alone",
  async (t) => {
    const { host } = await openDistribution(t);
    const signer = createKeylessSigner(t);
    const files: Record<string, string> = { "fulcio.pem": signer.roots, "rekor.pub": signer.logKey, "ctfe.pub": signer.certificateLogKey };
    const [, example = ""] = /```sh\n(.*?)```/s.exec(PAGE) ?? [];
    const settings = [...example.matchAll(/(BERTH_IMAGE_\w+)=(?:'([^']+)'|(\S+))/g)];
    const env: Record<string, string> = Object.fromEntries(settings.map(([, name = "", text, file = ""]) => [name, text ?? files[file] ?? file]));
    t.equal(Object.keys(env).length, 4);
    let nth = 0;
    const sign = async (who: { issuer?: string; identity?: string }, changes = {}, by = signer) => {
      const digest = await pushImage(host, { repository: "datagrok/app", tag: `${++nth}` });
      await by.sign(host, { repository: "datagrok/app", digest }, { issuer: ISSUER, identity: IDENTITY, ...who }, changes);
      return { author: "ada", ref: `datagrok/app:${nth}`, digest };
    };
    const { policy, written } = await openPolicy(t, host, {
      ...env,
      BERTH_IMAGE_IDENTITIES: `${env["BERTH_IMAGE_IDENTITIES"]},https://accounts.example=anna@acme.example`,
    });
    t.same(written, []);
    await policy.requireImage(await sign({}), signal);
    await policy.requireImage(await sign({ issuer: "https://accounts.example", identity: "anna@acme.example" }), signal);
    const refused = {
      "another identity": await sign({ identity: IDENTITY.replace("acme", "mallory") }),
      "an identity with a part more": await sign({ identity: IDENTITY.replace("plugins", "plugins/x") }),
      "another issuer": await sign({ issuer: "https://accounts.example" }),
      "another authority": await sign({}, {}, createKeylessSigner(t)),
      "signed after the end of its certificate": await sign({}, { loggedAt: new Date(Date.now() + 3_600_000) }),
      "no entry in the log": await sign({}, { isLogged: false }),
      "a certificate that is in no log": await sign({}, { certificateIsLogged: false }),
    };
    for (const [why, image] of Object.entries(refused))
      await t.rejects(
        policy.requireImage(image, signal),
        { code: "IMAGE_REFUSED", message: /is not signed by an accepted identity; BERTH_IMAGE_IDENTITIES needs/ },
        why,
      );
    const withKey = createSigner(t);
    const digest = await pushImage(host, { repository: "datagrok/keyed", tag: "1" });
    withKey.sign(host, "datagrok/keyed", digest);
    await t.rejects(policy.requireImage({ author: "ada", ref: "datagrok/keyed:1", digest }, signal), { code: "IMAGE_REFUSED" });

    const { BERTH_IMAGE_SIGSTORE_CT_KEY: _, ...withoutLog } = env;
    const { policy: other } = await openPolicy(t, host, { ...withoutLog, BERTH_IMAGE_KEYS: withKey.publicKey });
    await other.requireImage(refused["a certificate that is in no log"], signal);
    await other.requireImage({ author: "ada", ref: "datagrok/keyed:1", digest }, signal);
    await t.rejects(other.requireImage(refused["another identity"], signal), {
      code: "IMAGE_REFUSED",
      message: /is not signed by an accepted key; BERTH_IMAGE_KEYS or BERTH_IMAGE_IDENTITIES needs a signature of cosign\.pub and https:/,
    });
    await t.rejects(openPolicy(t, host, { BERTH_IMAGE_IDENTITIES: env["BERTH_IMAGE_IDENTITIES"] ?? "" }), {
      code: "SETTINGS_INVALID",
      message: /^BERTH_IMAGE_IDENTITIES needs BERTH_IMAGE_SIGSTORE_ROOTS and BERTH_IMAGE_SIGSTORE_LOG_KEY/,
    });
  },
);

t.test("cosign signs in to the configured registry as berth does", async (t) => {
  const { host } = await openUpstream(t, htpasswd);
  const signer = createSigner(t);
  const digest = await pushImage(host, { repository: "datagrok/app", tag: "1", login: LOGIN });
  const unsigned = await pushImage(host, { repository: "datagrok/app", tag: "2", login: LOGIN });
  signer.sign(host, "datagrok/app", digest, LOGIN);
  const env = { BERTH_IMAGE_KEYS: signer.publicKey, REGISTRY_USERNAME: LOGIN.username, REGISTRY_PASSWORD: LOGIN.password };
  const { policy } = await openPolicy(t, host, env);
  await policy.requireImage({ author: "ada", ref: "datagrok/app:1", digest }, signal);
  await t.rejects(policy.requireImage({ author: "ada", ref: "datagrok/app:2", digest: unsigned }, signal), { code: "IMAGE_REFUSED" });
  const { policy: wrong } = await openPolicy(t, host, { ...env, REGISTRY_PASSWORD: "wrong" });
  const refused = await wrong.requireImage({ author: "ada", ref: "datagrok/app:1", digest }, signal).then(
    () => undefined,
    (error: Error & { code?: string }) => error,
  );
  t.match(refused?.code, /^(PULL_DENIED|UPSTREAM_CREDENTIAL_FAILED)$/);
  t.notMatch(refused?.message, /wrong|s3cret/);
});

t.test("signatures of another registry are read where a pattern names it: cosign must not connect to what an author chooses", async (t) => {
  const { host } = await openDistribution(t);
  const { host: other } = await openDistribution(t);
  const signer = createSigner(t);
  const digest = await pushImage(other, { repository: "acme/app", tag: "1" });
  signer.sign(other, "acme/app", digest);
  const env = { BERTH_IMAGE_KEYS: signer.publicKey, BERTH_REGISTRY_REDIRECT_HOSTS: other };
  const image = { author: "ada", ref: `${other}/acme/app:1`, digest };
  const { policy: unnamed } = await openPolicy(t, host, env);
  await t.rejects(unnamed.requireImage(image, signal), {
    code: "IMAGE_REFUSED",
    message: `Signatures of the image ${image.ref} are not read, because no pattern of BERTH_IMAGE_ALLOW names its registry ${other}; BERTH_IMAGE_KEYS needs a signature of cosign.pub.`,
  });
  const { policy } = await openPolicy(t, host, { ...env, BERTH_IMAGE_ALLOW: `${other}/acme/*` });
  await policy.requireImage(image, signal);
  // One of this machine that no setting lists is not even read.
  const { policy: unlisted } = await openPolicy(t, host, { ...env, BERTH_IMAGE_ALLOW: `${other}/acme/*`, BERTH_REGISTRY_REDIRECT_HOSTS: "" });
  await t.rejects(unlisted.requireImage(image, signal), { code: "REGISTRY_UNREACHABLE" });
});

t.test("without cosign a server logs that once and uses no image", async (t) => {
  const { host } = await openDistribution(t);
  const signer = createSigner(t);
  const digest = await pushImage(host, { repository: "datagrok/app", tag: "1" });
  signer.sign(host, "datagrok/app", digest);
  const { policy, written } = await openPolicy(t, host, { BERTH_IMAGE_KEYS: signer.publicKey }, { PATH: tempFolder(t) });
  t.match(
    written.join(""),
    /cosign, which verifies signatures of images, is not installed\. Install cosign, or set BERTH_IMAGE_COSIGN to its path\./,
  );
  t.equal(written.length, 1);
  await t.rejects(policy.requireImage({ author: "ada", ref: "datagrok/app:1", digest }, signal), { code: "PROGRAM_UNUSABLE" });
});

t.test("cosign gets no secret, is ended with its caller, and leaves nothing", async (t) => {
  const { host } = await openDistribution(t);
  const signer = createSigner(t);
  const digest = await pushImage(host, { repository: "datagrok/app", tag: "1" });
  const folder = tempFolder(t);
  const program = join(folder, "cosign");
  writeFileSync(
    program,
    `#!/bin/sh\n[ "$1" = version ] && exit 0\nenv > ${folder}/env\necho "$@" > ${folder}/args.new\necho $$ > ${folder}/pid\nmv ${folder}/args.new ${folder}/args\nexec sleep 600\n`,
  );
  chmodSync(program, 0o755);
  const data = tempFolder(t);
  // As a control process left it that was killed.
  const left = join(data, "cosign/berth-cosign-left");
  mkdirSync(left, { recursive: true });
  writeFileSync(join(left, "config.json"), "{}");
  const { policy } = await openPolicy(
    t,
    host,
    { BERTH_IMAGE_KEYS: signer.publicKey, BERTH_IMAGE_COSIGN: program, BERTH_DATA: data },
    { PATH: process.env["PATH"], BERTH_ADMIN_KEY: "a-secret", HTTPS_PROXY: "http://proxy.example" },
  );
  t.notOk(existsSync(left));
  const stop = new AbortController();
  const check = policy.requireImage({ author: "ada", ref: "datagrok/app:1", digest }, stop.signal);
  await eventually("it runs", () => existsSync(join(folder, "args")));
  const env = readFileSync(join(folder, "env"), "utf8");
  t.notMatch(env, /a-secret/);
  t.match(env, /^HTTPS_PROXY=http:\/\/proxy\.example$/m);
  const home = /^HOME=(.*)$/m.exec(env)?.[1] ?? "";
  t.ok(existsSync(home));
  t.match(home, join(data, "cosign"), "in the data folder, which no other user reads");
  t.match(readFileSync(join(folder, "args"), "utf8"), `${host}/datagrok/app@${digest}`);
  stop.abort(new Error("no longer needed"));
  await t.rejects(check, { message: "no longer needed" });
  const pid = Number(readFileSync(join(folder, "pid"), "utf8"));
  await eventually("it has ended", () => !existsSync(`/proc/${pid}`) || /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8")));
  t.notOk(existsSync(home));
});

t.test("names, sizes, ages and quotas are limited, each with one sentence", async (t) => {
  const { host } = await openDistribution(t);
  const old = new Date(Date.now() - 100 * DAY_MS).toISOString();
  await pushImage(host, { repository: "datagrok/small", tag: "1" });
  await pushImage(host, { repository: "datagrok/large", tag: "1", layerBytes: 3_000_000 });
  const agedDigest = await pushImage(host, { repository: "datagrok/aged", tag: "1", created: old });
  const { policy } = await openPolicy(t, host, {
    BERTH_IMAGE_ALLOW: "datagrok/*,ghcr.io/acme/**",
    BERTH_IMAGE_MAX_MB: "2",
    BERTH_IMAGE_MAX_AGE_DAYS: "90",
  });
  const refusal = async (...refs: string[]) =>
    policy.requirePackage(packageOf(...refs), signal).then(
      () => "",
      (error: Error & { code?: string }) => (error.code === "PACKAGE_REFUSED" ? error.message : `${error.code}: ${error.message}`),
    );
  t.equal(await refusal("datagrok/small:1"), "");
  t.equal(
    await refusal("datagrok/small:1", "quay.io/other/x:1"),
    "dockerfiles/app: The image quay.io/other/x:1 is not allowed on this server: BERTH_IMAGE_ALLOW allows datagrok/* and ghcr.io/acme/**.",
  );
  for (const name of ["nginx", "datagrok/a/b", "evil.example/datagrok/small:1", "ghcr.io/acme", `sha256:${"0".repeat(64)}`])
    t.match(await refusal(name), /is not allowed on this server/, name);
  for (const name of ["ghcr.io/acme/x", "ghcr.io/acme/a/b:1", "datagrok/x@sha256:" + "0".repeat(64)])
    t.doesNotThrow(() => policy.requireName(name), name);
  t.equal(
    await refusal("datagrok/large:1"),
    "dockerfiles/app: The image datagrok/large:1 has 3.00 MB; at most 2 MB are allowed (BERTH_IMAGE_MAX_MB): make it smaller.",
  );
  t.equal(
    await refusal("datagrok/aged:1"),
    `dockerfiles/app: The image datagrok/aged:1 was built 100 days ago, on ${old.slice(0, 10)}; at most 90 days are allowed (BERTH_IMAGE_MAX_AGE_DAYS): build it again.`,
  );
  await t.rejects(policy.requireImage({ author: "ada", ref: "datagrok/aged:1", digest: agedDigest }, signal), { code: "IMAGE_REFUSED" });
  await policy.requireStart({ author: "ada", ref: "datagrok/aged:1", digest: agedDigest }, signal);
  // An image of the engine alone: the engine's own answer counts.
  const measures = { sizeBytes: 1_000, createdOn: Date.now() };
  await policy.requireImage({ author: "ada", ref: "datagrok/local:1", measures }, signal);
  await t.rejects(policy.requireImage({ author: "ada", ref: "datagrok/local:1", measures: { ...measures, sizeBytes: 5_000_000 } }, signal), {
    code: "IMAGE_REFUSED",
  });
  await t.rejects(policy.requireImage({ author: "ada", ref: "datagrok/local:1" }, signal), { code: "IMAGE_REFUSED", message: /size .* is unknown/ });
});

t.test("an author's images are counted with those of other packages, one in several packages once", async (t) => {
  const { host } = await openDistribution(t);
  const digest = await pushImage(host, { repository: "datagrok/a", tag: "1", layerBytes: 600_000 });
  await pushImage(host, { repository: "datagrok/b", tag: "1", layerBytes: 600_000 });
  const { policy } = await openPolicy(t, host, { BERTH_IMAGE_USER_COUNT: "2", BERTH_IMAGE_USER_MB: "1", BERTH_IMAGE_PACKAGE_COUNT: "3" });
  const publish = (refs: string[], others: { ref: string; digest: string | undefined }[]) =>
    policy.requirePackage({ ...packageOf(...refs), others: async () => others }, signal);
  await publish(["datagrok/a:1"], [{ ref: "datagrok/a:1", digest }]);
  await t.rejects(publish(["datagrok/b:1"], [{ ref: "datagrok/a:1", digest }]), {
    code: "PACKAGE_REFUSED",
    message: "With the package demo, its author has images of 1.20 MB; 1 MB are allowed (BERTH_IMAGE_USER_MB): remove some, or make them smaller.",
  });
  await t.rejects(publish(["datagrok/a:1", "x:1"], [{ ref: "y:1", digest: undefined }]), {
    message: "With the package demo, its author has 3 images; 2 are allowed (BERTH_IMAGE_USER_COUNT): remove some, or unpublish a package.",
  });
  await t.rejects(publish(["a:1", "b:1", "c:1", "d:1"], []), {
    message: /^The package demo has 4 images; 3 are allowed \(BERTH_IMAGE_PACKAGE_COUNT\)/,
  });
});

t.test("a key that is none, or a private one, stops the start", async (t) => {
  const folder = tempFolder(t);
  const path = join(folder, "key.pem");
  const { host } = await openDistribution(t);
  for (const text of ["no key", "-----BEGIN PRIVATE KEY-----\n"]) {
    writeFileSync(path, text);
    await t.rejects(openPolicy(t, host, { BERTH_IMAGE_KEYS: path }), {
      code: "SETTINGS_INVALID",
      message: /which is no readable PEM file of a public key/,
    });
  }
  await t.rejects(openPolicy(t, host, { BERTH_IMAGE_KEYS: join(folder, "missing.pem") }), { code: "SETTINGS_INVALID" });
});
