import t, { type Test } from "tap";
import { createImagePolicy, type ImagePolicyDeps, type ImageRules } from "../../../control/lifecycle/image-policy.ts";
import { raceAbort } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { openLifecycleFixture, USER } from "./lifecycle-fixture.ts";

const NO_RULES: ImageRules = {
  allow: [],
  maxMb: undefined,
  maxAgeDays: undefined,
  userImages: undefined,
  userMb: undefined,
  packageImages: undefined,
  packageMb: undefined,
};
const DIGEST = `sha256:${"1".repeat(64)}`;
const { signal } = new AbortController();

/** Rules on a registry that has every image; `read` counts its requests. */
function createPolicy(rules: Partial<ImageRules>, deps: Partial<ImagePolicyDeps> = {}) {
  const metrics = openMetrics();
  const requests: string[] = [];
  const policy = createImagePolicy({
    rules: { ...NO_RULES, ...rules },
    read: async (ref, digest) => {
      requests.push(ref);
      return { host: "registry.example", repository: "x", isConfigured: true, digest: digest ?? DIGEST, sizeBytes: 1_000, createdOn: 0 };
    },
    signatures: undefined,
    metrics,
    clock: createStillClock(1_000),
    ...deps,
  });
  return { policy, requests, metrics };
}

const openStand = (t: Test, imagePolicy: ReturnType<typeof createPolicy>["policy"]) => openLifecycleFixture(t, { imagePolicy });

t.test("an image whose name is not allowed is neither resolved nor started, and the container has the reason", async (t) => {
  const { policy } = createPolicy({ allow: ["other/*"] });
  const stand = await openStand(t, policy);
  const { id, imageId } = await stand.publish({ config: { onDemand: true } });
  await stand.lifecycle().requestStart(id, USER);
  const { fault } = await stand.reaches(id, "ERROR");
  t.equal(fault?.code, "IMAGE_REFUSED");
  const { ref, fault: own } = stand.image(imageId);
  t.equal(own?.message, `The image ${ref} is not allowed on this server: BERTH_IMAGE_ALLOW allows other/*.`);
  t.equal(stand.world.callCount(`resolve ${ref}`), 0);
  const explained = await stand.lifecycle().explain(id, signal);
  t.match(explained.why, own?.message);
});

t.test("a rule that cannot be checked refuses the image, and the next start checks again", async (t) => {
  let isAway = true;
  const verify = async () => {
    if (isAway) throw new Fault("REGISTRY_UNREACHABLE", "registry.example cannot be reached.");
    return true;
  };
  const { policy, metrics } = createPolicy({}, { signatures: { signers: ["a.pub"], setting: "BERTH_IMAGE_KEYS", verify } });
  const stand = await openLifecycleFixture(t, {
    imagePolicy: policy,
    driver: (driver) => ({ ...driver, resolve: async (image, call) => ({ ...(await driver.resolve(image, call)), digest: DIGEST }) }),
  });
  const { id, imageId } = await stand.publish({ config: { onDemand: true } });
  await stand.lifecycle().requestStart(id, USER);
  await stand.reaches(id, "ERROR");
  t.match(stand.image(imageId).fault, {
    code: "REGISTRY_UNREACHABLE",
    message: /rules for images could not be checked: registry\.example cannot be reached\.$/,
  });
  t.equal(metrics.imageRefusals.at("unchecked").value, 1);
  isAway = false;
  await stand.clock.advance(60_000);
  await stand.lifecycle().requestStart(id, USER);
  await stand.reaches(id, "STARTED");
});

t.test("what was validated before its rule came is refused at its next start", async (t) => {
  let isSigned = true;
  const { policy } = createPolicy({}, { signatures: { signers: ["a.pub"], setting: "BERTH_IMAGE_KEYS", verify: async () => isSigned } });
  const rules = { ...policy };
  const stand = await openLifecycleFixture(t, {
    imagePolicy: { ...policy, requireStart: (...given) => rules.requireStart(...given) },
    driver: (driver) => ({ ...driver, resolve: async (image, call) => ({ ...(await driver.resolve(image, call)), digest: DIGEST }) }),
  });
  const { id, imageId } = await stand.publish({ config: { onDemand: true } });
  await eventually("it is ready", () => stand.image(imageId).state === "READY");
  // As after a restart, with another key.
  isSigned = false;
  rules.requireStart = createPolicy(
    {},
    { signatures: { signers: ["b.pub"], setting: "BERTH_IMAGE_KEYS", verify: async () => isSigned } },
  ).policy.requireStart;
  await stand.lifecycle().requestStart(id, USER);
  const { fault } = await stand.reaches(id, "ERROR");
  t.match(fault, { code: "IMAGE_REFUSED", message: /needs a signature of b\.pub/ });
  t.equal(stand.world.callCount(`deploy ${stand.row(id).service}`), 0);
});

t.test("a digest costs one request and one verification, however often it starts", async (t) => {
  let verified = 0;
  const { policy, requests } = createPolicy(
    { maxMb: 1 },
    { signatures: { signers: ["a.pub"], setting: "BERTH_IMAGE_KEYS", verify: async () => ++verified > 0 } },
  );
  await policy.requirePackage({ name: "demo", author: USER, images: [{ ref: "datagrok/x:1", at: "dockerfiles" }], others: async () => [] }, signal);
  for (let round = 0; round < 3; round++) {
    await policy.requireImage({ ref: "datagrok/x:1", digest: DIGEST, author: USER }, signal);
    await policy.requireStart({ ref: "datagrok/x:1", digest: DIGEST, author: USER }, signal);
  }
  t.same(requests, ["datagrok/x:1"]);
  t.equal(verified, 1);
});

/** A registry that never answers, and one that does. */
function createSlowRegistry() {
  const held = new Set<string>();
  const read: ImagePolicyDeps["read"] = async (ref, digest, stop) => {
    if (ref.startsWith("slow.example/")) {
      held.add(ref);
      await raceAbort(new Promise(() => {}), stop);
    }
    const [host = "", repository = ""] = ref.split("/");
    return { host, repository, isConfigured: true, digest: digest ?? `sha256:${ref}`, sizeBytes: 1_000, createdOn: 0 };
  };
  return { held, read };
}

const packageOf = (author: string, ...refs: string[]) => ({
  name: `package-of-${author}`,
  author,
  images: refs.map((ref) => ({ ref, at: "dockerfiles" })),
  others: async () => [],
});
const slowRefs = Array.from({ length: 100 }, (_, index) => `slow.example/x${index}:1`);

t.test("a registry that does not answer delays its author's images only", async (t) => {
  const { held, read } = createSlowRegistry();
  const clock = createStillClock(1_000);
  const { policy } = createPolicy(
    { maxMb: 1 },
    { read, clock, signatures: { signers: ["a.pub"], setting: "BERTH_IMAGE_KEYS", verify: async () => true } },
  );
  const stop = new AbortController();
  const slow = [
    policy.requirePackage(packageOf("mallory", ...slowRefs), stop.signal),
    ...slowRefs.map((ref) => policy.requireImage({ ref, digest: DIGEST, author: "mallory" }, stop.signal)),
    ...slowRefs.map((ref) => policy.requireStart({ ref, digest: DIGEST, author: "mallory" }, stop.signal)),
  ].map((check) => check.catch((error: unknown) => error));
  await eventually("it is requested", () => held.size > 0);
  await policy.requirePackage(packageOf("ada", "ok.example/a:1", "ok.example/b:1"), signal);
  await policy.requireImage({ ref: "ok.example/c:1", digest: "sha256:c", author: "ada" }, signal);
  await policy.requireStart({ ref: "ok.example/d:1", digest: "sha256:d", author: "ada" }, signal);
  stop.abort(new Error("no longer needed"));
  t.same([...new Set((await Promise.all(slow)).map(String))], ["Error: no longer needed"]);
  t.ok(held.size <= 6, `${held.size} requests; the others were cancelled in their queue`);
  await policy.requirePackage(packageOf("mallory", "ok.example/e:1"), signal);
});

t.test("a check has a limit, and a silent registry gets no more requests for the package's images", async (t) => {
  const { held, read } = createSlowRegistry();
  const clock = createStillClock(1_000);
  const { policy } = createPolicy({ maxMb: 1 }, { read, clock });
  const start = createPolicy({}, { read, clock, signatures: { signers: ["a.pub"], setting: "BERTH_IMAGE_KEYS", verify: async () => true } }).policy
    .requireStart;
  const result = start({ ref: "slow.example/x:1", digest: DIGEST, author: USER }, signal).catch((error: unknown) => error);
  await eventually("it is requested", () => held.size === 1);
  await clock.advance(60_000);
  t.match(await result, { code: "REGISTRY_UNREACHABLE", message: /slow\.example\/x:1 did not answer within 60 s\.$/ });
  held.clear();
  const many = policy.requirePackage(packageOf(USER, ...slowRefs), signal).catch((error: unknown) => error);
  await eventually("it is requested", () => held.size > 0);
  await clock.advance(60_000);
  t.match(await many, { code: "REGISTRY_UNREACHABLE", message: /were not checked within 60 s, because registries answer slowly/ });
  const silent: string[] = [];
  const fails = createPolicy(
    { maxMb: 1 },
    {
      read: async (ref) => {
        silent.push(ref);
        throw new Fault("REGISTRY_UNREACHABLE", "slow.example did not answer within 20 s.");
      },
    },
  );
  await fails.policy.requirePackage(packageOf(USER, ...slowRefs), signal);
  t.ok(silent.length <= 4, `${silent.length} requests`);
});

t.test("a start whose image is being checked has no start slot", async (t) => {
  const { held, read } = createSlowRegistry();
  const slow = createPolicy({}, { read, signatures: { signers: ["a.pub"], setting: "BERTH_IMAGE_KEYS", verify: async () => true } }).policy;
  let slowId = "";
  const stand = await openLifecycleFixture(t, {
    imagePolicy: {
      ...slow,
      requireImage: async () => {},
      requireStart: (image, stop) => slow.requireStart(image.ref === slowId ? { ...image, ref: "slow.example/x:1" } : image, stop),
    },
    driver: (driver) => ({ ...driver, resolve: async (image, call) => ({ ...(await driver.resolve(image, call)), digest: DIGEST }) }),
    limits: { startSlots: { total: 1, perUser: 1 } },
  });
  const first = await stand.publish({ name: "slow", config: { onDemand: true } });
  const second = await stand.publish({ name: "quick", config: { onDemand: true } });
  await eventually("both are ready", () => [first, second].every(({ imageId }) => stand.image(imageId).state === "READY"));
  slowId = stand.image(first.imageId).ref;
  await stand.lifecycle().requestStart(first.id, USER);
  await eventually("it is being checked", () => held.size === 1);
  await stand.start(second.id);
  t.equal(stand.row(first.id).state, "STARTING");
});

t.test("a push obeys the quotas of a publish, with the image in place of its repository's", async (t) => {
  const { policy, requests, metrics } = createPolicy({ userImages: 2, packageMb: 1 });
  const image = { ref: "datagrok/x:2", sizeBytes: 500_000, author: USER, packageName: "demo", ofPackage: [], ofOthers: [] };
  const other = (name: string) => ({ ref: `datagrok/${name}:1`, digest: `sha256:${name}` });
  await policy.requirePush({ ...image, ofOthers: [other("y")] }, signal);
  t.same(requests, [], "no registry is read for a count");
  await t.rejects(policy.requirePush({ ...image, ofPackage: [other("y")], ofOthers: [other("z")] }, signal), {
    code: "PUSH_REFUSED",
    message: "With the image datagrok/x:2, its author has 3 images; 2 are allowed (BERTH_IMAGE_USER_COUNT): remove some, or unpublish a package.",
  });
  await t.rejects(policy.requirePush({ ...image, sizeBytes: 999_500, ofPackage: [other("y")] }, signal), {
    code: "PUSH_REFUSED",
    message: /^With the image datagrok\/x:2, the package demo has images of 1\.00 MB; 1 MB are allowed \(BERTH_IMAGE_PACKAGE_MB\)/,
  });
  t.equal(metrics.imageRefusals.at("quota").value, 2);
  const none = createPolicy({ maxMb: 1 });
  await none.policy.requirePush({ ...image, sizeBytes: 5_000_000 }, signal);
});

t.test("where the registry measures another platform's image than the engine has, the engine's numbers count", async (t) => {
  const read: ImagePolicyDeps["read"] = async () => ({
    host: "registry.example",
    repository: "x",
    isConfigured: true,
    digest: DIGEST,
    sizeBytes: 1_000,
    createdOn: 1_000,
    platform: { image: "linux/amd64", machine: "linux/amd64" },
  });
  const { policy } = createPolicy({ maxMb: 1 }, { read });
  const check = (image: string, sizeBytes: number) => {
    const measures = { sizeBytes, createdOn: 1_000, platform: { image, machine: image } };
    return policy.requireImage({ ref: "datagrok/x:1", digest: DIGEST, author: USER, measures }, signal);
  };
  await t.rejects(check("linux/arm64", 5_000_000), { code: "IMAGE_REFUSED", message: /has 5\.00 MB/ });
  await check("linux/arm64", 500_000);
  // Of the same one, the registry's compressed size counts.
  await check("linux/amd64", 5_000_000);
});

t.test("an image for another platform has a warning, until it is one for this", async (t) => {
  let image = "linux/arm64";
  let machine: string | undefined = "linux/amd64";
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({
      ...driver,
      resolve: async (source, call) => ({ ...(await driver.resolve(source, call)), platform: { image, machine } }),
    }),
  });
  const { imageId } = await stand.publish();
  const validated = () => eventually("it is ready", () => stand.image(imageId).state === "READY");
  await validated();
  const { warnings } = stand.image(imageId);
  t.match(warnings, [/^The image is built for linux\/arm64, and containers run on linux\/amd64/]);
  await stand.lifecycle().requestValidation(imageId);
  await validated();
  t.same(stand.image(imageId).warnings, warnings, "once");
  machine = undefined;
  await stand.lifecycle().requestValidation(imageId);
  await validated();
  t.match(stand.image(imageId).warnings, [/^The image is built for linux\/arm64: it starts only on machines of that kind/]);
  image = "linux/amd64";
  await stand.lifecycle().requestValidation(imageId);
  await validated();
  t.same(stand.image(imageId).warnings, []);
});
