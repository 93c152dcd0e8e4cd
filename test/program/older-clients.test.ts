import t from "tap";
import { startBerth, zipOf } from "../fixtures/berth.ts";
import { openEngine } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { openRegistry } from "../fixtures/registry.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** What `grok publish` of datagrok-tools 6.0.8 sends: the key in the path, no image.json, and no image has been pushed. */
const FILES = {
  "package.json": JSON.stringify({ name: "@datagrok/oldpub", version: "1.3.3" }),
  "dockerfiles/autodock/Dockerfile": "FROM scratch\nEXPOSE 8000\n",
  "dockerfiles/autodock/container.json": JSON.stringify({ on_demand: true }),
  "timestamps.json": "{}",
};

openEngine();
const registry = await openRegistry();
t.teardown(() => registry.close());
const environment = `older-${process.pid}`;
const env = {
  BERTH_DRIVER: "docker",
  BERTH_DOCKER_NETWORK: `berth-${environment}`,
  GROK_SPAWNER_ENVIRONMENT: environment,
  REGISTRY_URL: `http://${registry.host}`,
};
const berth = await startBerth({ data: tempFolder(t), env });
t.teardown(() => berth.stop());

type StoredImage = { id: string; status: string; imageRef: string; logs: string };
const image = async () => {
  const { dockerfile } = await berth.container("oldpub-autodock");
  return (await (await berth.call(`/docker/images/${dockerfile.id}`)).json()) as StoredImage;
};
const settled = () =>
  eventually("the validation to end", async () => (({ status }) => ["ready", "error"].includes(status))(await image()) && image());

t.test("a client that pushes no image: the error says what is missing and how to publish", async (t) => {
  const path = `${berth.api}/packages/dev/${berth.key}/@datagrok/oldpub`;
  t.equal((await fetch(`${path}/timestamps`)).status, 200);
  const sent = await fetch(`${path}?debug=false&rebuild=false&dropDb=false`, { method: "POST", body: await zipOf(FILES) });
  t.equal(sent.status, 200);
  t.not(((await sent.json()) as Record<string, unknown>)["#type"], "ApiError");

  const missing = await settled();
  t.equal(missing.status, "error");
  const advice = /datagrok\/oldpub-autodock:1\.3\.3\.[0-9a-f]{8}.*image\.json.*datagrok-tools 6\.1\.0.*grok publish --release.*berth publish/;
  t.match(missing.logs, advice);
  const { id } = await berth.container("oldpub-autodock");
  const started = await berth.call(`/docker/containers/${id}/run?awaitStart=true`);
  t.equal(started.status, 500);
  t.match(await started.json(), { message: /image\.json/ });
});

t.test("an image that is pushed by other means is found", async (t) => {
  const { id, imageRef } = await image();
  const [repository = "", tag = ""] = imageRef.split(":");
  registry.put(repository, tag, "built elsewhere");
  t.equal((await berth.call(`/docker/images/${id}/revalidate`)).status, 200);
  await eventually("the image to be ready", async () => (await image()).status === "ready");
});

t.test("a newer client whose image is missing gets no such advice", async (t) => {
  const files = {
    ...FILES,
    "dockerfiles/autodock/image.json": JSON.stringify({ image: "datagrok/oldpub-autodock:1.3.4.00000000", fallback: false }),
  };
  t.equal((await berth.publish("@datagrok/oldpub", files)).status, 200);
  const missing = await eventually("the new image to be missing", async () => {
    const now = await image();
    return now.status === "error" && now.imageRef.endsWith(":1.3.4.00000000") ? now : undefined;
  });
  t.notMatch(missing.logs, /datagrok-tools/);
});
