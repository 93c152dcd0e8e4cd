import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** A container that speaks HTTP/2 only, as a child process, so that no engine is needed. */
const SERVER = `
  import { createServer } from "node:http2";
  process.on("SIGTERM", () => process.exit(0));
  createServer({}, (request, response) => {
    response.setHeader("x-version", request.httpVersion);
    request.pipe(response);
  }).listen(Number(process.env.PORT ?? 8000), "0.0.0.0");
`;
const FILES = {
  "package.json": JSON.stringify({ name: "calls", version: "1.0.0" }),
  "dockerfiles/server/Dockerfile": 'FROM node:26-alpine\nWORKDIR /app\nCOPY server.mjs .\nEXPOSE 8000\nCMD ["node", "server.mjs"]\n',
  "dockerfiles/server/container.json": JSON.stringify({ on_demand: true, protocol: "h2c" }),
  "dockerfiles/server/server.mjs": SERVER,
};

t.test("a published container with protocol h2c is woken, and answers over HTTP/2", async (t) => {
  const berth = await startBerth({ data: tempFolder(t), env: { BERTH_DRIVER: "process", BERTH_WATCHDOG_SECONDS: "0" } });
  t.teardown(() => berth.stop());
  const published = await berth.publish("calls", FILES);
  t.equal(published.status, 200);
  const { id } = await eventually("the image to be ready", async () => {
    const entity = await berth.container("calls-server");
    return entity.dockerfile.status === "ready" ? entity : undefined;
  });
  for (const body of ["first", "second"]) {
    const answer = await berth.call(`/docker/containers/proxy/${id}/echo`, { method: "POST", body });
    t.equal(await answer.text(), body);
    t.equal(answer.headers.get("x-version"), "2.0");
  }
});
