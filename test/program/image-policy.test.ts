import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { typeBerth } from "../cli/fixtures/type-berth.ts";
import { ADMIN_KEY, startBerth } from "../fixtures/berth.ts";
import { openEngine, removeInstallation } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { openDistribution } from "../gateway/registry/distribution.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/image-policy.md"), "utf8");
/** The page's blocks, in their order: how to sign, the settings, and the refusal. */
const [SIGN = "", SETTINGS = "", REFUSAL = ""] = [...PAGE.matchAll(/```(?:sh)?\n(.*?)```/gs)].map(([, text = ""]) => text);
const [GENERATE = "", SIGN_IT = ""] = SIGN.split("\n");

t.test("the page's example: an unsigned image is refused, a signed one runs, and a tag that moves to an unsigned one runs no more", async (t) => {
  const { docker, host: engine } = openEngine();
  const registry = await openDistribution(t);
  const images = await buildTestImages(docker, ["onDemand", "plain"]);
  const folder = tempFolder(t);
  const shell = (command: string, more: NodeJS.ProcessEnv = {}) =>
    execFileSync("sh", ["-ec", command.replaceAll("registry.example:5000", registry.host)], {
      cwd: folder,
      env: { PATH: process.env["PATH"], HOME: folder, COSIGN_PASSWORD: "", DOCKER_HOST: engine, ...more },
      encoding: "utf8",
      stdio: "pipe",
    });
  const push = (image: string, tag: string) => {
    const name = `${registry.host}/datagrok/model:${tag}`;
    t.teardown(() =>
      docker
        .getImage(name)
        .remove({ force: true })
        .catch(() => undefined),
    );
    shell(`docker tag ${image} ${name} && docker push -q ${name}`);
  };
  push(images.onDemand, "1");
  push(images.onDemand, "latest");
  shell(GENERATE);
  const settings = Object.fromEntries(
    shell(`${SETTINGS}\nenv`)
      .split("\n")
      .filter((line) => line.startsWith("BERTH_IMAGE_"))
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
  t.equal(settings["BERTH_IMAGE_ALLOW"], "datagrok/*,ghcr.io/acme/**");

  const environment = `policy-${process.pid}`;
  const network = `berth-${environment}`;
  const data = tempFolder(t);
  const berth = await startBerth({
    data,
    env: {
      ...settings,
      BERTH_IMAGE_KEYS: join(folder, settings["BERTH_IMAGE_KEYS"] ?? ""),
      BERTH_DRIVER: "docker",
      BERTH_DOCKER_NETWORK: network,
      GROK_SPAWNER_ENVIRONMENT: environment,
      REGISTRY_URL: registry.host,
      BERTH_REGISTRY_PORT: "0",
    },
  });
  t.teardown(async () => {
    await berth.stop();
    await removeInstallation(docker, environment, network);
  });
  const env = { PATH: process.env["PATH"], HOME: folder, DOCKER_HOST: engine, BERTH_DATA: join(data, "berth-data"), BERTH_ADMIN_KEY: ADMIN_KEY };
  const publish = (image: string) => {
    const at = join(folder, "package/dockerfiles/app");
    mkdirSync(at, { recursive: true });
    writeFileSync(join(folder, "package/package.json"), JSON.stringify({ name: "policy", version: "1.0.0" }));
    writeFileSync(join(at, "container.json"), JSON.stringify({ image, on_demand: true }));
    return typeBerth(["publish", "--release", join(folder, "package")], { env });
  };

  const unsigned = await publish("datagrok/model:1");
  t.not(unsigned.code, 0);
  t.match(unsigned.stderr, REFUSAL.trim());
  const foreign = await publish("quay.io/other/x:1");
  t.match(foreign.stderr, "dockerfiles/app: The image quay.io/other/x:1 is not allowed on this server");
  t.equal((await berth.call("/docker/containers/count")).status, 200);
  await t.rejects(berth.container("policy-app"), "nothing of it was stored");

  shell(SIGN_IT);
  const signed = await publish("datagrok/model:1");
  t.equal(signed.code, 0, signed.stderr);
  const call = async () => berth.call(`/docker/containers/proxy/${(await berth.container("policy-app")).id}/square?x=3`);
  t.equal((await call()).status, 200);

  // `latest` is signed with the same digest; then it moves to an image that is not.
  const published = await publish("datagrok/model:latest");
  t.equal(published.code, 0, published.stderr);
  t.equal((await call()).status, 200);
  const { id } = await berth.container("policy-app");
  t.equal((await berth.call(`/docker/containers/${id}/stop?awaitStop=true`)).status, 200);
  await berth.until("policy-app", ["stopped by user"]);
  push(images.plain, "latest");
  const refused = await berth.call(`/docker/containers/${id}/run?awaitStart=true`);
  t.equal(refused.status, 500);
  const sentence = /The image datagrok\/model:latest is not signed by an accepted key/;
  t.match(await refused.text(), sentence);
  const explained = await eventually("the failure", async () => {
    const { stdout } = await typeBerth(["explain", "policy-app"], { env });
    return /is error/.test(stdout) ? stdout : undefined;
  });
  t.match(explained, sentence);
  t.match((await berth.container("policy-app")).dockerfile.logs, /IMAGE_REFUSED: The image datagrok\/model:latest/);
});
