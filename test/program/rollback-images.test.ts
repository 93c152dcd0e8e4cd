import t from "tap";
import { typeBerth } from "../cli/fixtures/type-berth.ts";
import { ADMIN_KEY, startBerth, zipOf } from "../fixtures/berth.ts";
import { openEngine, removeInstallation } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** A developer's tag moves with each build. A rollback runs the image that it pointed to. */
const engine = openEngine();
const images = await buildTestImages(engine.docker, ["onDemand", "plain"]);
const env = {
  BERTH_DRIVER: "docker",
  BERTH_DOCKER_NETWORK: `berth-rollback-${process.pid}`,
  GROK_SPAWNER_ENVIRONMENT: `rollback-${process.pid}`,
};
const REPOSITORY = `datagrok/back${process.pid}-web`;

t.test("a debug version returns with the image that its tag had then", async (t) => {
  const data = tempFolder(t);
  const berth = await startBerth({ data, env });
  t.teardown(async () => {
    await berth.stop();
    await removeInstallation(engine.docker, env.GROK_SPAWNER_ENVIRONMENT, env.BERTH_DOCKER_NETWORK);
    await engine.docker.getImage(`${REPOSITORY}:admin`).remove({ force: true });
  });
  const name = `back${process.pid}`;
  const publishDebug = async (files: Record<string, string>) =>
    fetch(`${berth.api}/packages/dev/${name}?debug=true`, {
      method: "POST",
      headers: { authorization: `Dev ${ADMIN_KEY}` },
      body: await zipOf(files),
    });
  const publish = async (image: string, port: number) => {
    await engine.docker.getImage(image).tag({ repo: REPOSITORY, tag: "admin" });
    const zip = {
      "package.json": JSON.stringify({ name, version: "1.0.0" }),
      "dockerfiles/web/Dockerfile": `FROM scratch\nEXPOSE ${port}\n`,
      "dockerfiles/web/container.json": '{"on_demand":true}',
    };
    t.equal((await publishDebug(zip)).status, 200);
  };
  const exposed = (port: number) =>
    eventually(`the container to have port ${port}`, async () => {
      const container = await berth.container(`${name}-web`);
      return (container.dockerfile.status === "ready" && container.port === port) || undefined;
    });

  await publish(images.onDemand, 15_353);
  await exposed(15_353);
  await publish(images.plain, 5_353);
  await exposed(5_353);
  const typed = await typeBerth(["rollback", name], {
    env: { PATH: process.env["PATH"] ?? "", BERTH_DATA: `${data}/berth-data`, BERTH_ADMIN_KEY: ADMIN_KEY },
  });
  t.match(typed, { code: 0, stdout: /is version 1 / });
  await exposed(15_353);
  const { id } = await berth.container(`${name}-web`);
  const answer = await berth.call(`/docker/containers/proxy/${id}/square?number=5`);
  t.equal(answer.status, 200);
  t.match(await answer.text(), /25/);

  const { references } = (await (await berth.call("/admin/images-in-use")).json()) as { references: string[] };
  for (const image of [images.onDemand, images.plain])
    t.ok(
      references.includes((await engine.docker.getImage(image).inspect()).Id),
      "no registry and no cleanup may remove the image of a stored version",
    );
});
