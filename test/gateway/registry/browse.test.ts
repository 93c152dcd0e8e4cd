// The registry here is a fake: none that runs can be brought to lie, and it answers only what the specification has.
import { fastify } from "fastify";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { sendErrors } from "../../../control/api/api-error.ts";
import { imageUsage, registryRoutes } from "../../../control/api/registry.ts";
import { addRoutes } from "../../../control/api/route.ts";
import { openBrowser } from "../../../gateway/registry/browse/open-browser.ts";
import { openRegistryHttp, socketUpstream } from "../../../gateway/registry/upstream/upstream.ts";
import { openLog } from "../../../lib/log.ts";
import { openApiFixture } from "../../control/api/fixtures/open-api-fixture.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { shortFolder } from "../stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

const INDEX = `sha256:${"a".repeat(64)}`;
const PART = `sha256:${"b".repeat(64)}`;
const signal = new AbortController().signal;

/** A registry that answers `path` by `say`, and what asks it. */
async function openFake(t: Test, say: (request: IncomingMessage, response: ServerResponse) => void, clock = systemClock()) {
  const socket = join(await shortFolder(t), "registry.sock");
  const paths: string[] = [];
  const server = createServer((request, response) => {
    paths.push(`${request.method} ${request.url}`);
    say(request, response);
  });
  await new Promise<void>((resolve) => void server.listen(socket, resolve));
  const browser = openBrowser({ upstream: socketUpstream(socket), http: openRegistryHttp({ clock, socketPath: socket }), clock });
  t.teardown(async () => {
    await browser.close();
    server.closeAllConnections();
    server.close();
  });
  return { browser, paths };
}

t.test("a list that leads back to its own beginning ends, and names nothing twice", async (t) => {
  const { browser } = await openFake(t, (_, response) =>
    response.setHeader("link", '</v2/_catalog?n=500>; rel="next"').end(JSON.stringify({ repositories: ["one", 2, "two"] })),
  );
  t.same(await browser.repositories(signal), ["one", "two"]);
});

t.test("a manifest may say anything: what is no digest, size or list counts as none, and leads nowhere", async (t) => {
  const lies = {
    mediaType: 7,
    config: { digest: "../../other/manifests/secret?", size: "big" },
    layers: [null, { digest: 5, size: -1 }, { digest: PART, size: 3 }],
    manifests: "many",
  };
  const { browser, paths } = await openFake(t, (_, response) => response.setHeader("docker-content-digest", INDEX).end(JSON.stringify(lies)));
  t.match(await browser.image("datagrok/x", "1", signal), {
    digest: INDEX,
    size: 3,
    images: { length: 0 },
    layers: [
      { digest: "", size: 0 },
      { digest: "", size: 0 },
      { digest: PART, size: 3 },
    ],
  });
  t.same(paths, ["GET /v2/datagrok/x/manifests/1"]);
});

t.test("a registry that goes on saying a little is not listened to for ever", async (t) => {
  const clock = createStillClock();
  const { browser, paths } = await openFake(t, (_, response) => void response.write(" "), clock);
  const rejected = t.rejects(browser.tags("datagrok/x", signal), { code: "REGISTRY_TIMED_OUT" });
  await eventually("it is requested", () => paths.length === 1);
  await clock.advance(30_000);
  await rejected;
});

t.test("a part of an index that a container uses is in use as well", async (t) => {
  const stand = await openApiFixture(t);
  const { browser, paths } = await openFake(t, ({ url }, response) => {
    const isPart = url?.endsWith(PART);
    if (url?.includes("/tags/list")) return void response.end(JSON.stringify({ tags: ["1"] }));
    response.setHeader("docker-content-digest", isPart ? PART : INDEX).statusCode = 200;
    response.end(JSON.stringify(isPart ? { layers: [] } : { manifests: [{ digest: PART, size: 1 }] }));
  });
  const app = fastify();
  app.setErrorHandler(sendErrors(openLog({ level: "silent", name: "test" })));
  addRoutes(app, registryRoutes({ registry: browser, usage: () => imageUsage(stand.store), pushes: async () => () => undefined }));
  t.teardown(() => app.close());
  const remove = async () =>
    (await app.inject({ method: "DELETE", url: `/docker/registry/images?repository=datagrok/x&digest=${encodeURIComponent(PART)}` })).statusCode;
  await stand.publish("walk", { "dockerfiles/app/container.json": '{"image":"datagrok/x:1","port":80}' });
  t.equal(await remove(), 409);
  t.notOk(paths.some((path) => path.startsWith("DELETE")));
  const [image] = await stand.store.images.all();
  // The tag has moved on, and what runs is known by its digest.
  await stand.store.images.update(image?.id ?? "", { ref: "datagrok/x:0", digest: INDEX });
  t.equal(await remove(), 409);
  await stand.store.images.update(image?.id ?? "", { ref: "datagrok/other:1" });
  t.equal(await remove(), 200);
});
