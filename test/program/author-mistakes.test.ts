import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { openEngine, removeInstallation } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** What the author of a container learns that does not listen where it should, over a real Docker engine and from outside. */
const engine = openEngine();
const images = await buildTestImages(engine.docker, ["mute"]);
const env = {
  BERTH_DRIVER: "docker",
  BERTH_DOCKER_NETWORK: `berth-mistakes-${process.pid}`,
  GROK_SPAWNER_ENVIRONMENT: `mistakes-${process.pid}`,
  // Longer than the 10 s after which berth looks.
  GROK_PARAMETERS: JSON.stringify({ dockerSettings: { proxyRequestTimeout: 14_000 } }),
};

type Mistake = { name: string; json: object; says: string };
const MISTAKES: Mistake[] = [
  { name: "loopback", json: { env: { LISTEN: "127.0.0.1 8080" } }, says: "The process listens on 127.0.0.1:8080; listen on 0.0.0.0." },
  {
    name: "otherport",
    json: { env: { LISTEN: "0.0.0.0 5000" } },
    says: "The process listens on port 5000, but EXPOSE says 8080: change one of them.",
  },
  {
    name: "both",
    json: { env: { LISTEN: "127.0.0.1 5000" }, port: 5001 },
    says: "The process listens on 127.0.0.1:5000, but `port` in container.json says 5001; listen on 0.0.0.0:5001.",
  },
  { name: "nowhere", json: {}, says: "No process of it listens on a port." },
];

t.test("status, explanation and a held request's 504 say where a container listens instead", async (t) => {
  const berth = await startBerth({ data: tempFolder(t), env });
  t.teardown(async () => {
    await berth.stop();
    await removeInstallation(engine.docker, env.GROK_SPAWNER_ENVIRONMENT, env.BERTH_DOCKER_NETWORK);
  });
  const files = MISTAKES.map(({ name, json }) => [
    `dockerfiles/${name}/container.json`,
    JSON.stringify({ image: images.mute, on_demand: true, ...json }),
  ]);
  const answer = await berth.publish("@datagrok/Slip", {
    "package.json": JSON.stringify({ name: "@datagrok/Slip", version: "1.0.0", friendlyName: "Slip" }),
    ...Object.fromEntries(files),
  });
  t.equal(answer.status, 200, await answer.clone().text());

  await Promise.all(
    MISTAKES.map(async ({ name, says }) => {
      const nameOf = `slip-${name}`;
      await eventually(`${name}'s image to be ready`, async () => (await berth.container(nameOf)).dockerfile.status === "ready");
      const { id } = await berth.container(nameOf);
      const held = berth.call(`/docker/containers/proxy/${id}/`);
      await eventually(`${name}'s status says why`, async () => (await berth.container(nameOf)).note === says);
      const explained = (await (await berth.call(`/docker/containers/${id}/explain`)).json()) as { why: string };
      t.ok(explained.why.includes(says), explained.why);
      const response = await held;
      t.equal(response.status, 504);
      const text = await response.text();
      t.ok(text.includes(JSON.stringify(says).slice(1, -1)), text);
      t.match(text, /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z mute began/, "its log tail has times");
      const logs = async (query: string) => (await berth.call(`/docker/containers/${id}/logs${query}`)).text();
      t.match(await logs(""), /^mute began\n/);
      t.match(await logs("?timestamps=true"), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z mute began\n/);
      t.equal(await logs("?previous=true"), "", "it has not run before");
      await berth.call(`/docker/containers/${id}/stop?awaitStop=true`);
      t.equal((await berth.container(nameOf)).note, null);
    }),
  );
});
