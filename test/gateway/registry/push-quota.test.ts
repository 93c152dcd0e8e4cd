import t from "tap";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { openEngine, removeInstallation } from "../../fixtures/engine.ts";
import { createSigner } from "../../fixtures/signed-images.ts";
import { build, docker } from "./docker-client.ts";
import { openOwn } from "./own-registry.ts";

t.test("docker push is refused beyond the quota of images, with the sentence of a publish, and the registry has nothing of it", async (t) => {
  const engine = openEngine();
  const environment = `quota-${process.pid}`;
  const network = `berth-${environment}`;
  const { berth, base } = await openOwn(t, {
    BERTH_DRIVER: "docker",
    DOCKER_HOST: engine.host,
    BERTH_DOCKER_NETWORK: network,
    GROK_SPAWNER_ENVIRONMENT: environment,
    BERTH_IMAGE_USER_COUNT: "1",
    BERTH_IMAGE_USER_MB: "3",
  });
  t.teardown(() => removeInstallation(engine.docker, environment, network));
  const host = base.replace("http://", "");
  const { call } = docker(t);
  t.match(await call(["login", host, "-u", "any", "--password-stdin"], ADMIN_KEY), { code: 0 });
  const push = async (name: string, bytes = 0) => {
    await build(t, call, `${host}/${name}`, bytes);
    return call(["push", `${host}/${name}`]);
  };
  const first = await push("datagrok/one:1");
  t.equal(first.code, 0, first.output);
  const published = await berth.publish("quota", {
    "package.json": JSON.stringify({ name: "quota", version: "1.0.0" }),
    "dockerfiles/app/container.json": JSON.stringify({ image: "datagrok/one:1", on_demand: true }),
  });
  t.equal(published.status, 200, await published.text());

  const next = await push("datagrok/one:2");
  t.equal(next.code, 0, `in place of the package's image: ${next.output}`);
  const [, digest = ""] = /digest: (sha256:[0-9a-f]{64})/.exec(next.output) ?? [];
  createSigner(t).sign(host, "datagrok/one", digest, { username: "any", password: ADMIN_KEY });

  const second = await push("datagrok/two:1");
  t.not(second.code, 0);
  t.match(
    second.output,
    /denied: With the image datagrok\/two:1, its author has 2 images; 1 are allowed \(BERTH_IMAGE_USER_COUNT\): remove some, or unpublish a package/,
  );
  const large = await push("datagrok/one:3", 4_000_000);
  t.not(large.code, 0);
  t.match(large.output, /denied: With the image datagrok\/one:3, its author has images of 4\.\d+ MB; 3 MB are allowed \(BERTH_IMAGE_USER_MB\)/);
  for (const [name, tag] of [
    ["two", "1"],
    ["one", "3"],
  ]) {
    const answer = await fetch(`${base}/v2/datagrok/${name}/manifests/${tag}`);
    t.equal(answer.status, 404, `${name}:${tag} is not stored`);
  }
  t.equal((await fetch(`${base}/v2/datagrok/one/manifests/2`)).status, 200);
});
