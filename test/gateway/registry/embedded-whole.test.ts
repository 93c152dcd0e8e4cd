import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY, startBerth } from "../../fixtures/berth.ts";
import { openEngine } from "../../fixtures/engine.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { freePort } from "../../fixtures/server.ts";
import { run } from "./run.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** One machine and nothing on it but Docker and Distribution: `BERTH_REGISTRY=embedded` is the only setting. */
t.test("with a registry of berth's own, what is pushed is found, pulled and run without any other setting", async (t) => {
  const port = await freePort();
  const { docker: engine, host } = openEngine();
  const { onDemand, plain } = await buildTestImages(engine, ["onDemand", "plain"]);
  const data = tempFolder(t);
  const env = { BERTH_REGISTRY: "embedded", BERTH_REGISTRY_PORT: String(port) };
  const berth = await startBerth({ data, env });
  t.teardown(() => berth.stop());
  const publish = async (version: string) => {
    const published = await berth.publish("embedded", {
      "package.json": JSON.stringify({ name: "embedded", version }),
      "dockerfiles/app/Dockerfile": "FROM scratch\nEXPOSE 15353\n",
      "dockerfiles/app/container.json": JSON.stringify({ on_demand: true }),
      "dockerfiles/app/image.json": JSON.stringify({ image: `datagrok/embedded-app:${version}`, fallback: false }),
    });
    t.equal(published.status, 200, await published.text());
  };
  await publish("1.0.0");
  const registry = `127.0.0.1:${port}`;
  const config = tempFolder(t);
  const docker = (args: string[], input = "") => run("docker", args, { env: { DOCKER_CONFIG: config, DOCKER_HOST: host }, input });
  t.match(await docker(["login", registry, "-u", "any", "--password-stdin"], ADMIN_KEY), { code: 0 });
  const image = `${registry}/datagrok/embedded-app:1.0.0`;
  await docker(["tag", onDemand, image]);
  const pushed = await docker(["push", image]);
  t.equal(pushed.code, 0, pushed.output);
  // What runs has to come from the registry.
  await docker(["image", "rm", image]);
  t.teardown(() => docker(["image", "rm", "-f", image]));
  await eventually("the image to be ready", async () => (await berth.container("embedded-app")).dockerfile.status === "ready");
  const { id, serviceName } = await berth.container("embedded-app");
  t.teardown(() => docker(["rm", "-f", serviceName]));
  const answer = await berth.call(`/docker/containers/proxy/${id}/`);
  t.ok(answer.status < 500, await answer.text());
  t.equal((await berth.container("embedded-app")).status, "started");

  // What is published next is not there yet, so what runs goes on, and is kept for it.
  await publish("2.0.0");
  const newer = `${registry}/datagrok/embedded-app:newer`;
  await docker(["tag", plain, newer]);
  t.teardown(() => docker(["image", "rm", "-f", newer]));
  t.match(await docker(["push", newer]), { code: 0 });
  const own = { BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY, ...env };
  const retained = await run(process.execPath, [join(import.meta.dirname, "../../../berth.ts"), "registry", "retain", "--keep", "1"], { env: own });
  t.match(retained, { code: 0, output: /embedded-app +1\.0\.0 .*kept: used/ });
});
