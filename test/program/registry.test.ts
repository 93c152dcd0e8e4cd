import t from "tap";
import { ADMIN_KEY, startBerth } from "../fixtures/berth.ts";
import { openEngine } from "../fixtures/engine.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openDistribution } from "../gateway/registry/distribution.ts";
import { freePort } from "../fixtures/server.ts";
import { run } from "../gateway/registry/run.ts";
import { eventually } from "../fixtures/eventually.ts";

/** The whole: berth's own users and keys, its registry proxy before real Distribution, and the engine that pulls through it. */
t.test("what is pushed with a developer key runs at once, and is refused with a wrong one", async (t) => {
  const registry = await openDistribution(t);
  const port = await freePort();
  const { docker: engine, host } = openEngine();
  const { onDemand } = await buildTestImages(engine, ["onDemand"]);
  const berth = await startBerth({
    data: tempFolder(t),
    env: {
      REGISTRY_URL: registry.host,
      BERTH_REGISTRY_PORT: String(port),
      GROK_PARAMETERS_DOCKER_SETTINGS__REGISTRY_PROXY_HOST: "127.0.0.1",
      GROK_PARAMETERS_DOCKER_SETTINGS__REGISTRY_PROXY_PORT: String(port),
      BERTH_LOG_LEVEL: "info",
    },
  });
  t.teardown(() => berth.stop());
  const proxy = `127.0.0.1:${port}`;
  await eventually("the proxy to say where it is", async () => berth.output().includes(`registry proxy at http://${proxy}`));

  // Published before it is pushed: the image is looked for, and is not there.
  const published = await berth.publish("pushed?debug=true", {
    "package.json": JSON.stringify({ name: "pushed", version: "1.0.0" }),
    "dockerfiles/app/Dockerfile": "FROM scratch\nEXPOSE 15353\n",
    "dockerfiles/app/container.json": JSON.stringify({ on_demand: true }),
    "dockerfiles/app/image.json": JSON.stringify({ image: "datagrok/pushed-app:1.0.0", fallback: false }),
  });
  t.equal(published.status, 200, await published.text());
  const status = async () => (await berth.container("pushed-app")).dockerfile.status;
  await eventually("the image to be missed", async () => (await status()) === "error");

  const config = tempFolder(t);
  const docker = (args: string[], input = "") => run("docker", args, { env: { DOCKER_CONFIG: config, DOCKER_HOST: host }, input });
  const login = (key: string) => docker(["login", proxy, "-u", "any", "--password-stdin"], key);
  t.not((await login("wrong-unknown-key")).code, 0);
  t.match(await login(ADMIN_KEY), { code: 0, output: /Login Succeeded/ });
  const image = `${proxy}/datagrok/pushed-app:1.0.0`;
  await docker(["tag", onDemand, image]);
  t.teardown(() => docker(["image", "rm", "-f", image]));
  t.match(await docker(["push", image]), { code: 0 });
  // Nothing else makes berth look again.
  await eventually("the image to be ready", async () => (await status()) === "ready");
  t.match(berth.output(), /an image was pushed/);
  t.notMatch(berth.output(), /image prefetched/);
  // A developer's own tag: what comes to be under it now is wanted by the next start.
  t.match(await docker(["push", image]), { code: 0 });
  await eventually("the image to be pulled ahead", async () => /image prefetched/.test(berth.output()));
  t.notMatch(berth.output(), new RegExp(ADMIN_KEY));
});
