import t, { type Test } from "tap";
import { createImagePolicy, type ImagePolicyDeps, type ImageRules } from "../../../control/lifecycle/image-policy.ts";
import { Fault } from "../../../lib/fault.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { eventually, PATIENCE_MS } from "../../fixtures/eventually.ts";
import { openLifecycleFixture } from "./lifecycle-fixture.ts";

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
const signal = AbortSignal.timeout(PATIENCE_MS);

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
    clock: { now: () => 1_000 },
    ...deps,
  });
  return { policy, requests, metrics };
}

const openStand = (t: Test, imagePolicy: ReturnType<typeof createPolicy>["policy"]) => openLifecycleFixture(t, { imagePolicy });

t.test("an image whose name is not allowed is neither resolved nor started, and the container says why", async (t) => {
  const { policy } = createPolicy({ allow: ["other/*"] });
  const stand = await openStand(t, policy);
  const { id, imageId } = await stand.publish({ config: { onDemand: true } });
  await stand.lifecycle().requestStart(id, "22222222-2222-4222-8222-222222222222");
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
  const { policy, metrics } = createPolicy({}, { signatures: { keys: ["a.pub"], verify } });
  const stand = await openLifecycleFixture(t, {
    imagePolicy: policy,
    driver: (driver) => ({ ...driver, resolve: async (image, call) => ({ ...(await driver.resolve(image, call)), digest: DIGEST }) }),
  });
  const { id, imageId } = await stand.publish({ config: { onDemand: true } });
  await stand.lifecycle().requestStart(id, "22222222-2222-4222-8222-222222222222");
  await stand.reaches(id, "ERROR");
  t.match(stand.image(imageId).fault, {
    code: "REGISTRY_UNREACHABLE",
    message: /rules for images could not be checked: registry\.example cannot be reached\.$/,
  });
  t.equal(metrics.imageRefusals.at("unchecked").value, 1);
  isAway = false;
  await stand.clock.advance(60_000);
  await stand.lifecycle().requestStart(id, "22222222-2222-4222-8222-222222222222");
  await stand.reaches(id, "STARTED");
});

t.test("what was validated before its rule came is refused at its next start", async (t) => {
  let isSigned = true;
  const { policy } = createPolicy({}, { signatures: { keys: ["a.pub"], verify: async () => isSigned } });
  const rules = { ...policy };
  const stand = await openLifecycleFixture(t, {
    imagePolicy: { ...policy, requireStart: (...given) => rules.requireStart(...given) },
    driver: (driver) => ({ ...driver, resolve: async (image, call) => ({ ...(await driver.resolve(image, call)), digest: DIGEST }) }),
  });
  const { id, imageId } = await stand.publish({ config: { onDemand: true } });
  await eventually("it is ready", () => stand.image(imageId).state === "READY");
  // As after a restart, with another key.
  isSigned = false;
  rules.requireStart = createPolicy({}, { signatures: { keys: ["b.pub"], verify: async () => isSigned } }).policy.requireStart;
  await stand.lifecycle().requestStart(id, "22222222-2222-4222-8222-222222222222");
  const { fault } = await stand.reaches(id, "ERROR");
  t.match(fault, { code: "IMAGE_REFUSED", message: /needs a signature of b\.pub/ });
  t.equal(stand.world.callCount(`deploy ${stand.row(id).service}`), 0);
});

t.test("a digest costs one request and one verification, however often it starts", async (t) => {
  let verified = 0;
  const { policy, requests } = createPolicy({ maxMb: 1 }, { signatures: { keys: ["a.pub"], verify: async () => ++verified > 0 } });
  await policy.requirePackage({ name: "demo", images: [{ ref: "datagrok/x:1", at: "dockerfiles" }], others: async () => [] }, signal);
  for (let round = 0; round < 3; round++) {
    await policy.requireImage({ ref: "datagrok/x:1", digest: DIGEST }, signal);
    await policy.requireStart({ ref: "datagrok/x:1", digest: DIGEST }, signal);
  }
  t.same(requests, ["datagrok/x:1"]);
  t.equal(verified, 1);
});

t.test("an image for another platform has a warning, until it is one for this", async (t) => {
  let image = "linux/arm64";
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({
      ...driver,
      resolve: async (source, call) => ({ ...(await driver.resolve(source, call)), platform: { image, machine: "linux/amd64" } }),
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
  image = "linux/amd64";
  await stand.lifecycle().requestValidation(imageId);
  await validated();
  t.same(stand.image(imageId).warnings, []);
});
