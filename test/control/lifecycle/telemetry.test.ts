import t from "tap";
import { startBerth } from "../../fixtures/berth.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

const SERVER = 'require("node:http").createServer((request, response) => response.end("here")).listen(Number(process.env.PORT), "127.0.0.1");';

t.test("a reader of the product's troubleshooting page finds the state machine by its words", async (t) => {
  const berth = await startBerth({ data: tempFolder(t), env: { BERTH_DRIVER: "process" } });
  t.teardown(() => berth.stop());
  await berth.publish("Words", {
    "package.json": JSON.stringify({ name: "Words", version: "1.0.0" }),
    "dockerfiles/app/Dockerfile": 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
    "dockerfiles/app/server.cjs": SERVER,
    "dockerfiles/app/container.json": JSON.stringify({ on_demand: true }),
  });
  const { id } = await berth.container("words-app");
  t.equal((await berth.call(`/docker/containers/proxy/${id}/`)).status, 200);
  /** As `grep` does in the output of the container. */
  const grep = (word: string) =>
    berth
      .output()
      .split("\n")
      .filter((line) => line.includes(word))
      .map((line) => (JSON.parse(line) as { msg: string; to?: string }).to);
  t.same(grep("processImages"), ["VALIDATING", "READY"]);
  t.same(grep("processContainers"), ["PENDING_START", "STARTING", "STARTED"]);
  t.equal(grep("DockerService").length, 5, "the service's name finds both");
});
