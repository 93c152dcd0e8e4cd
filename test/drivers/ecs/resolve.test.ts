import { createHash } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import t, { type Test } from "tap";
import { call, rejectsWith, specOf } from "../conformance.ts";
import { denied } from "./answer.ts";
import { openStand } from "./fixture.ts";
import { freePort, listen } from "../../fixtures/server.ts";

const sha = (text: string) => `sha256:${createHash("sha256").update(text).digest("hex")}`;

/**
 * A registry that wants a token, keeps blobs on another host and knows one image, of two platforms or of `architectures`: what the real one of the other
 * tests does not do.
 */
async function openOddRegistry(t: Test, architectures: readonly string[] = ["arm", "amd64"]) {
  const startServer = async (answer: RequestListener) => `127.0.0.1:${(await listen(t, createServer(answer))).port}`;
  const config = JSON.stringify({ config: { ExposedPorts: { "8000/tcp": {} } }, history: [] });
  const manifest = JSON.stringify({ schemaVersion: 2, config: { digest: sha(config) } });
  const platform = (architecture: string, digest: string) => ({ digest, platform: { os: "linux", architecture } });
  const manifests = architectures.map((one) => platform(one, one === "arm" ? sha("other") : sha(manifest)));
  const index = JSON.stringify({ schemaVersion: 2, manifests });
  const documents: Record<string, string> = { "manifests/1": index, [`manifests/${sha(index)}`]: index, [`manifests/${sha(manifest)}`]: manifest };
  const requests: { path: string; authorization: string | undefined }[] = [];
  const store = await startServer((request, response) => {
    requests.push({ path: `store ${request.url}`, authorization: request.headers.authorization });
    response.end(config);
  });
  const host: string = await startServer((request, response) => {
    const url = new URL(request.url ?? "", `http://${request.headers.host}`);
    requests.push({ path: url.pathname, authorization: request.headers.authorization });
    if (url.pathname === "/token") return response.end(JSON.stringify({ token: `for-${url.searchParams.get("scope")}` }));
    if (request.headers.authorization !== "Bearer for-repository:odd/x:pull") {
      return response.writeHead(401, { "www-authenticate": `Bearer realm="http://${host}/token",service="odd"` }).end();
    }
    const path = url.pathname.replace("/v2/odd/x/", "");
    if (path === `blobs/${sha(config)}`) return response.writeHead(307, { location: `http://${store}/blob` }).end();
    const body = documents[path];
    if (body === undefined) return response.writeHead(404).end();
    response.writeHead(200, { "docker-content-digest": sha(body) }).end(body);
  });
  return { host, requests, digest: sha(index) };
}

t.test("what an image is built for must be what tasks run on", async (t) => {
  const stand = await openStand(t, ["worker"], { forArm: ["worker"] });
  const [fargate, graviton, either] = [stand.open({ launchType: "fargate" }), stand.open({ architecture: "arm64" }), stand.open()];
  const ref = `${stand.tags("worker").repository}:1`;
  const platformOf = async (driver: typeof either) => (await driver.resolve({ ref }, call())).platform;
  t.strictSame(await platformOf(fargate), { image: "linux/arm64", machine: "linux/amd64" });
  t.strictSame(await platformOf(graviton), { image: "linux/arm64", machine: "linux/arm64" });
  t.strictSame(await platformOf(either), { image: "linux/arm64", machine: undefined }, "the cluster's instances may have it");

  const spec = await specOf(graviton, "arm", { ref, port: undefined }, { graceMs: 1 });
  await graviton.deploy(spec, call());
  await graviton.destroy("arm", call());
  const refused = await rejectsWith(t, "IMAGE_NOT_FOUND", fargate.deploy(spec, call()));
  t.match(refused.message, /not built for the processor of the task \(linux\/amd64\).*BERTH_ECS_ARCHITECTURE/);

  const odd = await openOddRegistry(t, ["arm64"]);
  t.match(await graviton.resolve({ ref: `${odd.host}/odd/x:1` }, call()), { digest: odd.digest, exposed: [8000] });
  t.match(await either.resolve({ ref: `${odd.host}/odd/x:1` }, call()), { digest: odd.digest, exposed: [8000] });
  const other = await rejectsWith(t, "IMAGE_NOT_FOUND", fargate.resolve({ ref: `${odd.host}/odd/x:1` }, call()));
  t.match(other.message, /is built for linux\/arm64, and containers run on linux\/amd64 \(BERTH_ECS_ARCHITECTURE\)/);
});

t.test("images", async (t) => {
  const stand = await openStand(t, ["onDemand", "severalPorts", "worker"]);
  const driver = stand.open();
  const resolve = (ref: string) => driver.resolve({ ref }, call());

  await t.test("a short name is looked for in ECR, and becomes the digest that it points at, with the ports of its configuration", async (t) => {
    const { digest, repository } = stand.tags("severalPorts");
    const id = `${stand.registry.host}/${repository}@${digest}`;
    for (const ref of [`${repository}:1`, `${stand.registry.host}/${repository}:1`, `${repository}@${digest}`]) {
      const { sizeBytes: _, platform: __, createdOn: ___, ...resolved } = await resolve(ref);
      t.strictSame(resolved, { id, digest, exposed: [9000, 8000], command: ["node", "/app/app.js"] });
    }
    t.strictSame((await resolve("berth-test/worker:1")).exposed, []);
    t.notOk(
      stand.requests.some(({ action }) => action === "DescribeImages"),
      "which roles in the field may not",
    );
  });

  await t.test("what is nowhere is not found; what is no name is refused", async (t) => {
    await rejectsWith(t, "IMAGE_NOT_FOUND", resolve("berth-test/worker:2"));
    await rejectsWith(t, "IMAGE_NOT_FOUND", resolve(`${stand.registry.host}/berth-test/absent:1`));
    await rejectsWith(t, "IMAGE_NOT_FOUND", resolve(`sha256:${"0".repeat(64)}`));
    await rejectsWith(t, "IMAGE_REFERENCE_INVALID", resolve("Not A Name"));
  });

  await t.test("a registry that is not set up is queried as an engine would do", async (t) => {
    const odd = await openOddRegistry(t);
    const id = `${odd.host}/odd/x@${odd.digest}`;
    t.strictSame(await resolve(`${odd.host}/odd/x:1`), { id, digest: odd.digest, exposed: [8000], command: [] });
    t.strictSame(await resolve(id), { id, digest: odd.digest, exposed: [8000], command: [] });
    t.equal(odd.requests.find(({ path }) => path.startsWith("store"))?.authorization, undefined, "the token goes nowhere else");
    await rejectsWith(t, "IMAGE_NOT_FOUND", resolve(`${odd.host}/odd/x:2`));
  });

  await t.test("one that does not answer us is left to ECS", async (t) => {
    const port = await freePort();
    t.strictSame(await resolve(`127.0.0.1:${port}/x/y:z`), { id: `127.0.0.1:${port}/x/y:z`, exposed: [], command: [] });
  });

  await t.test("a role that may not read ECR gets the name of the missing right", async (t) => {
    stand.answers = ({ action }) => (action === "ListImages" ? denied("ecr:ListImages") : undefined);
    await t.rejects(resolve("berth-test/worker:1"), { message: /ecr:ListImages/ });
    stand.answers = () => undefined;
  });

  await t.test("where an image's ports may not be read, its package's port counts", async (t) => {
    await stand.registry.stop();
    const { digest, repository } = stand.tags("onDemand");
    t.strictSame(await resolve(`${repository}:1`), { id: `${stand.registry.host}/${repository}@${digest}`, digest, exposed: [], command: [] });
  });
});
