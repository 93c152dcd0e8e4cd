import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../../../lib/clock.ts";
import { openEcrApi } from "../../../../gateway/registry/upstream/ecr-api.ts";
import { ecrSource, openImageRegistry } from "../../../../gateway/registry/upstream/image-registry.ts";
import { openUpstream, type UpstreamSettings } from "../../../../gateway/registry/upstream/open-upstream.ts";
import { openLog } from "../../../../lib/log.ts";
import { readSettings } from "../../../../conf/read-settings.ts";
import { openConfiguredRegistry } from "../../../../processes/configured-registry.ts";
import { rejectsWith } from "../../../drivers/conformance.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { htpasswd, LOGIN, openDistribution } from "./distribution.ts";
import { denied, openEcr, throttled } from "./moto.ts";
import { push, signal } from "./pushed.ts";
import { eventually } from "../../../fixtures/eventually.ts";

const log = openLog({ level: "silent", name: "test" });
const HOUR_MS = 3_600_000;
const PULL = { repository: "datagrok/x", actions: ["pull"] } as const;
const BASIC = `Basic ${Buffer.from(`${LOGIN.username}:${LOGIN.password}`).toString("base64")}`;

async function open(t: Test, more: Partial<UpstreamSettings> = {}, clock = systemClock()) {
  const settings = { url: undefined, username: undefined, password: undefined, ecrMode: true, awsRegion: "eu-west-1", ...more };
  const upstream = await openUpstream(settings, { clock, log, signal: signal() });
  t.teardown(() => upstream.close());
  return upstream;
}

t.test("in front of ECR", async (t) => {
  const registry = await openDistribution(t, htpasswd);
  const ecr = await openEcr(t, { registry: registry.host });
  const file = join(tempFolder(t), "registry-token");
  const upstream = await open(t, { tokenFile: file });

  await t.test("AWS says where it is and what opens it", async (t) => {
    t.equal(upstream.host, registry.host);
    t.equal(upstream.authorization(PULL, signal()), BASIC, "at once");
    t.strictSame(ecr.actions(), ["GetAuthorizationToken"]);
  });

  await t.test("a hundred pushes at once make the repository once, with the tag that policies want", async (t) => {
    await Promise.all(Array.from({ length: 100 }, async () => upstream.beforePush?.("datagrok/x", signal())));
    await upstream.beforePush?.("datagrok/x", signal());
    const made = ecr.motoRequest.filter(({ action }) => action === "CreateRepository");
    t.equal(made.length, 1);
    t.strictSame(made[0]?.body, { repositoryName: "datagrok/x", tags: [{ Key: "builder", Value: "grok_spawner" }] });
    t.match(await push(upstream, "datagrok/x", "1"), /^sha256:/);
    t.equal(upstream.missingRepositoryFault?.("datagrok/x"), undefined);
  });

  await t.test("one that is there already is as good", async (t) => {
    const other = await open(t);
    await other.beforePush?.("datagrok/x", signal());
    t.equal(other.missingRepositoryFault?.("datagrok/x"), undefined);
  });

  await t.test("where it may not be made the push goes on, and if it is missing the right is named", async (t) => {
    ecr.answers = ({ action }) => (action === "CreateRepository" ? denied(action) : undefined);
    await upstream.beforePush?.("datagrok/made-by-a-template", signal());
    t.match(await push(upstream, "datagrok/made-by-a-template", "1"), /^sha256:/);
    const why = upstream.missingRepositoryFault?.("datagrok/made-by-a-template");
    t.equal(why?.code, "REPOSITORY_NOT_MADE");
    t.match(why?.message, /ecr:CreateRepository/);
    const before = ecr.motoRequest.length;
    await upstream.beforePush?.("datagrok/made-by-a-template", signal());
    t.equal(ecr.motoRequest.length, before, "remembered for a while");
    ecr.answers = () => undefined;
  });

  await t.test("AWS's throttling is waited out", async (t) => {
    let left = 2;
    ecr.answers = ({ action }) => (action === "CreateRepository" && left-- > 0 ? throttled : undefined);
    await upstream.beforePush?.("datagrok/throttled", signal());
    t.equal(upstream.missingRepositoryFault?.("datagrok/throttled"), undefined);
    t.equal(left, -1);
    ecr.answers = () => undefined;
  });

  await t.test("the token's file is for its owner alone, and for every repository", async (t) => {
    await eventually("written", () => statSync(file, { throwIfNoEntry: false }) !== undefined);
    t.equal(statSync(file).mode & 0o777, 0o600);
    const [, expires = "", value] = /^\* (\d+) (.+)\n$/.exec(readFileSync(file, "utf8")) ?? [];
    t.equal(value, BASIC);
    t.ok(Math.abs(Number(expires) * 1_000 - Date.now() - 12 * HOUR_MS) < 60_000);
  });
});

t.test("the token is renewed", async (t) => {
  const ecr = await openEcr(t);
  const tokens = () => ecr.actions().filter((action) => action === "GetAuthorizationToken").length;

  await t.test("every 6 h, also without a request", async (t) => {
    ecr.hours = 24;
    const clock = createStillClock(Date.now());
    const upstream = await open(t, {}, clock);
    const before = tokens();
    await clock.advance(5.9 * HOUR_MS);
    t.equal(tokens(), before);
    await clock.advance(0.2 * HOUR_MS);
    await eventually("requested again", () => tokens() === before + 1);
    t.equal(upstream.authorization(PULL, signal()), BASIC);
  });

  await t.test("well before it runs out; while that fails, the one at hand serves on", async (t) => {
    ecr.hours = 1;
    const clock = createStillClock(Date.now());
    const upstream = await open(t, {}, clock);
    ecr.answers = ({ action }) => denied(action);
    const before = tokens();
    await clock.advance(0.6 * HOUR_MS);
    await eventually("requested again", () => tokens() > before);
    t.equal(upstream.authorization(PULL, signal()), BASIC);
    await clock.advance(0.5 * HOUR_MS);
    const fault = await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", Promise.resolve(upstream.authorization(PULL, signal())));
    t.match(fault.message, /ecr:GetAuthorizationToken/);
    ecr.answers = () => undefined;
  });

  await t.test("once for all whose requests were refused", async (t) => {
    ecr.hours = 12;
    const clock = createStillClock(Date.now());
    const upstream = await open(t, {}, clock);
    await clock.advance(60_000);
    const before = tokens();
    const again = await Promise.all(Array.from({ length: 100 }, () => upstream.refused(PULL, "Basic realm=x", signal())));
    t.strictSame([...new Set(again)], [BASIC]);
    t.equal(tokens(), before + 1);
  });

  await t.test("one that ran out by our clock when it came is used all the same", async (t) => {
    ecr.hours = -100;
    const upstream = await open(t);
    t.equal(upstream.authorization(PULL, signal()), BASIC);
  });

  await t.test("with an address given, nothing is waited for at the start", async (t) => {
    ecr.answers = ({ action }) => denied(action);
    const upstream = await open(t, { url: "registry.example:5000" });
    await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", Promise.resolve(upstream.authorization(PULL, signal())));
    const settings = { url: undefined, username: undefined, password: undefined, ecrMode: true, awsRegion: "eu-west-1" };
    await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", openUpstream(settings, { clock: systemClock(), log, signal: signal() }));
    ecr.answers = () => undefined;
  });
});

t.test("on ECS images are looked for in ECR first, then in the registry that is set up", async (t) => {
  const registry = await openDistribution(t, htpasswd);
  const ecr = await openEcr(t);
  const own = await openUpstream(
    { url: registry.host, ...LOGIN, ecrMode: false, awsRegion: undefined },
    { clock: systemClock(), log, signal: signal() },
  );
  t.teardown(() => own.close());
  const env = { REGISTRY_URL: registry.host, REGISTRY_USERNAME: LOGIN.username, REGISTRY_PASSWORD: LOGIN.password, AWS_REGION: "eu-west-1" };
  const images = openConfiguredRegistry(readSettings({ env }).settings, "ecs", { clock: systemClock(), log });
  t.teardown(() => images?.close());
  const digest = await push(own, "datagrok/x", "1");
  t.strictSame(await images?.resolve("datagrok/x:1", { signal: signal() }), { reference: `${registry.host}/datagrok/x:1`, digest });
  t.strictSame(ecr.actions(), ["GetAuthorizationToken", "ListImages"]);

  await t.test("and where AWS denies the asking, not in the next, which may have another of that name", async (t) => {
    ecr.answers = ({ action }) => denied(action);
    await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", images?.resolve("datagrok/x:1", { signal: signal() }) ?? Promise.resolve());
  });
});

t.test("on ECS an image is found by listing", async (t) => {
  const ecr = await openEcr(t);
  const api = await openEcrApi({ region: "eu-west-1", clock: systemClock() });
  await api.createRepository("datagrok/x", signal());
  const { ECRClient, PutImageCommand } = await import("@aws-sdk/client-ecr");
  const client = new ECRClient({ region: "eu-west-1" });
  const imageManifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.docker.distribution.manifest.v2+json",
    config: { digest: "" },
    layers: [],
  });
  const put = (imageTag: string, more = "") =>
    client.send(new PutImageCommand({ repositoryName: "datagrok/x", imageTag, imageManifest: imageManifest + more }));
  const { image: untagged } = await put("1.0", " ");
  const { image } = await put("1.0");
  client.destroy();
  const images = openImageRegistry([await ecrSource(api, { clock: systemClock(), log, signal: signal() })]);
  t.teardown(() => images.close());
  const host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
  const digest = image?.imageId?.imageDigest;
  t.strictSame(await images.resolve("datagrok/x:1.0", { signal: signal() }), { reference: `${host}/datagrok/x:1.0`, digest });
  t.strictSame(await images.resolve(`${host}/datagrok/x:1.0`, { signal: signal() }), { reference: `${host}/datagrok/x:1.0`, digest });
  const byDigest = `datagrok/x@${digest}`;
  t.strictSame(await images.resolve(byDigest, { signal: signal() }), { reference: `${host}/${byDigest}`, digest });
  const moved = `datagrok/x@${untagged?.imageId?.imageDigest}`;
  t.match(await images.resolve(moved, { signal: signal() }), { reference: `${host}/${moved}` }, "also once its tag has moved on");
  t.equal(await images.resolve(`datagrok/x@sha256:${"0".repeat(64)}`, { signal: signal() }), undefined);
  t.equal(await images.resolve("datagrok/x:2.0", { signal: signal() }), undefined);
  t.equal(await images.resolve("datagrok/nothing:1", { signal: signal() }), undefined);
  t.notOk(ecr.actions().includes("DescribeImages"));
  t.strictSame(await images.login(host, { signal: signal() }), LOGIN);
  ecr.answers = ({ action }) => denied(action);
  const fault = await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", images.resolve("datagrok/x:1.0", { signal: signal() }));
  t.match(fault.message, /ecr:ListImages/);
});
