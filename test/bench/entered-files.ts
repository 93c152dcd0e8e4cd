/**
 * `npm run entered -- [FOLDER]`: how many source files a warm request, a start, the push of a manifest and a publish enter, in a berth of this source
 * tree or another. A file counts if one of its functions runs in each of several repetitions; containers are plain processes.
 */
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { join, relative, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import t from "tap";
import { startBerth, zipOf } from "../fixtures/berth.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { digestOf, MANIFEST, registryClient } from "../gateway/registry/registry-client.ts";
import { appFiles } from "../program/contract/stand.ts";
import { eventually } from "../fixtures/eventually.ts";

const ROOT = resolve(process.argv[2] ?? join(import.meta.dirname, "../.."));
const REPETITIONS = 4;

/** Takes the files that were entered since it was called before. */
async function takeEntered(folder: string): Promise<Set<string>> {
  const sockets = readdirSync(folder).map((name) => connect(join(folder, name)));
  const lists = await Promise.all(sockets.map(async (socket) => JSON.parse(await text(socket)) as string[]));
  const paths = lists.flat().flatMap((url) => (url.startsWith("file:") ? [relative(ROOT, fileURLToPath(url))] : []));
  return new Set(paths.filter((path) => !path.startsWith("..") && !path.startsWith("node_modules") && !path.startsWith("test")));
}

t.test("files that each path enters", async (t) => {
  const data = tempFolder(t);
  const entered = tempFolder(t);
  const berth = await startBerth({
    data,
    command: [process.execPath, join(ROOT, "berth.ts")],
    env: {
      BERTH_DRIVER: "process",
      BERTH_WORKERS: "1",
      BERTH_REGISTRY: "embedded",
      BERTH_REGISTRY_PORT: "0",
      XDG_RUNTIME_DIR: data,
      ENTERED_FOLDER: entered,
      // Coverage of functions from the cache is incomplete.
      NODE_DISABLE_COMPILE_CACHE: "1",
      NODE_OPTIONS: `--import ${join(import.meta.dirname, "entered/record-coverage.mjs")}`,
    },
  });
  t.teardown(() => berth.stop());
  const publish = async (version: string) => {
    const body = await zipOf({ "package.json": JSON.stringify({ name: "app", version }), ...appFiles("web", version, { on_demand: true }) });
    const query = "?debug=false&rebuild=false&dropDb=false";
    const answer = await fetch(`${berth.api}/packages/dev/app${query}`, { method: "POST", headers: { authorization: `Dev ${berth.key}` }, body });
    t.equal(answer.status, 200);
    const { images } = (await answer.json()) as { images: { id: string }[] };
    for (const { id } of images) {
      await eventually("the image to be validated", async () => {
        const { status } = (await (await berth.call(`/docker/images/${id}`)).json()) as { status: string };
        return status === "ready" ? true : undefined;
      });
    }
  };
  await publish("1.0.0");
  const { id } = await berth.container("app-web");
  const request = async () => t.equal((await berth.call(`/docker/containers/proxy/${id}/`)).status, 200);
  const stop = async () => void (await (await berth.call(`/docker/containers/${id}/stop?awaitStop=true`)).arrayBuffer());

  const count = async (path: string, run: () => Promise<unknown>, prepare: () => Promise<unknown> = async () => {}) => {
    let common: Set<string> | undefined;
    for (let at = 0; at < REPETITIONS; at++) {
      await prepare();
      await takeEntered(entered);
      await run();
      const files = await takeEntered(entered);
      common = common?.intersection(files) ?? files;
    }
    console.log(`| files entered: ${path} | ${common?.size ?? 0} |`);
    if (process.env["ENTERED_LIST"]) console.log([...(common ?? [])].toSorted().join("\n"));
  };

  await request();
  await count("a request to a running container", request);
  await count("a request that starts its container", request, stop);
  let version = 1;
  await count("a publish until its image is ready", () => publish(`1.0.${version++}`));

  const base = await eventually("the registry's address", async () => /registry proxy at (\S+)/.exec(berth.output())?.[1]);
  const registry = registryClient(t, base);
  const layer = "a layer";
  await registry.push("datagrok/app-web", "1.0.0", layer);
  const authorization = `Bearer ${await registry.token(["repository:datagrok/app-web:pull,push"])}`;
  let tag = 1;
  await count("the push of a manifest", async () => {
    const described = { mediaType: "application/octet-stream", size: layer.length, digest: digestOf(layer) };
    const body = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config: described, layers: [described] });
    const headers = { authorization, "content-type": MANIFEST };
    t.equal(await registry.status(`/v2/datagrok/app-web/manifests/1.1.${tag++}`, { method: "PUT", headers, body }), 201);
  });
});
