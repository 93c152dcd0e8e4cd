import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY, type Entity, zipOf } from "../fixtures/berth.ts";
import { openEngine } from "../fixtures/engine.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { eventually } from "../fixtures/eventually.ts";

/**
 * berth in a container of the engine that it drives: it joins the containers' network by itself and reaches them by their names.
 * Its container is made of the test image with Node in it, this checkout and the engine's socket.
 */
const engine = openEngine();
const images = await buildTestImages(engine.docker);
const socket = engine.host.replace("unix://", "");
const name = `berth-inside-${process.pid}`;
const berth = await engine.docker.createContainer({
  name,
  Image: images.onDemand,
  Cmd: ["node", "/berth/berth.ts", "serve"],
  Env: [
    "DOCKER_HOST=unix:///engine.sock",
    "BERTH_HOST=0.0.0.0",
    "BERTH_DATA=/data/berth",
    `BERTH_ADMIN_KEY=${ADMIN_KEY}`,
    `BERTH_DOCKER_NETWORK=${name}`,
    `GROK_SPAWNER_ENVIRONMENT=${name}`,
  ],
  HostConfig: { Binds: [`${join(import.meta.dirname, "../..")}:/berth:ro`, `${socket}:/engine.sock`], Tmpfs: { "/data": "", "/tmp": "" } },
});
t.teardown(async () => {
  const left = await engine.docker.listContainers({ all: true, filters: { label: [`berth.environment=${name}`] } });
  await Promise.all([berth.id, ...left.map(({ Id }) => Id)].map((id) => engine.docker.getContainer(id).remove({ force: true })));
  for (const { Id } of await engine.docker.listNetworks({ filters: { label: [`berth.network=${name}`] } }))
    await engine.docker.getNetwork(Id).remove();
});
await berth.start();

const own = Object.values((await berth.inspect()).NetworkSettings.Networks)[0]?.IPAddress;
const api = `http://${own}:8080/api`;
const headers = { authorization: `Dev ${ADMIN_KEY}` };
const token = await eventually("berth to answer", async () => {
  const answer = await fetch(`${api}/users/login/dev?administration=true`, { method: "POST", headers }).catch(() => undefined);
  return answer?.ok ? ((await answer.json()) as { token: string }).token : undefined;
});

t.test("it wakes a container and reaches it by its name", async (t) => {
  const body = await zipOf({
    "package.json": JSON.stringify({ name: "inside", version: "1.0.0" }),
    "dockerfiles/app/container.json": JSON.stringify({ image: images.onDemand, on_demand: true }),
  });
  t.equal((await fetch(`${api}/packages/dev/inside`, { method: "POST", headers, body })).status, 200);
  const find = async () => ((await (await fetch(`${api}/docker/containers`, { headers: { authorization: token } })).json()) as Entity[])[0];
  const { id } = await eventually("the image to be ready", async () => {
    const entity = await find();
    return entity?.dockerfile.status === "ready" ? entity : undefined;
  });
  const answer = await fetch(`${api}/docker/containers/proxy/${id}/square?number=4`, { headers: { authorization: token } });
  t.same(await answer.json(), { result: 16 });
  const { address, serviceName } = (await find()) ?? {};
  t.match(address, serviceName, "its address is its name");
});
