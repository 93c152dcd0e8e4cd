import t from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { openEngine } from "../../../drivers/engine/engine.ts";
import { containerListeners, readByHelper, readInside } from "../../../drivers/engine/listening.ts";
import { parseListening } from "../../../drivers/listening.ts";
import { openEngine as openTestEngine } from "../../fixtures/engine.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { buildProgramImage, buildTestImages } from "../../fixtures/images.ts";

const LISTENING = [{ host: "127.0.0.1", port: 5000 }];
const signal = () => AbortSignal.timeout(60_000);

t.test("the sockets of a container are read in each of the three ways, and no helper is left", async (t) => {
  const { docker, host } = openTestEngine();
  const engine = openEngine({ host }, systemClock());
  t.teardown(() => engine.close());
  const images = await buildTestImages(docker, ["mute"]);
  const cat = await buildProgramImage(docker, "cat", "/usr/bin/cat", ["/proc/net/tcp"]);
  const container = await docker.createContainer({ Image: images.mute, Env: ["LISTEN=127.0.0.1 5000"] });
  t.teardown(() => container.remove({ force: true }));
  await container.start();
  await eventually("it listens", async () => (await containerListeners(engine, container.id, signal()))?.sockets.length === 1);
  t.strictSame(await containerListeners(engine, container.id, signal()), { sockets: LISTENING });

  t.strictSame(parseListening((await readByHelper(engine, container.id, cat, signal())) ?? ""), LISTENING);
  t.equal(await readByHelper(engine, container.id, undefined, signal()), undefined, "berth runs in no container");
  t.equal(await readByHelper(engine, container.id, images.mute, signal()), undefined, "its image has no cat");
  await eventually("the engine has removed the helpers", async () => {
    const all = await docker.listContainers({ all: true });
    return all.every(({ HostConfig }) => HostConfig.NetworkMode !== `container:${container.id}`);
  });

  t.equal(await readInside(engine, container.id, signal()), undefined, "an image without cat");
  const sleeper = await docker.createContainer({ Image: cat, Cmd: ["-"], OpenStdin: true });
  t.teardown(() => sleeper.remove({ force: true }));
  await sleeper.start();
  t.strictSame(parseListening((await readInside(engine, sleeper.id, signal())) ?? ""), [], "one that listens nowhere");

  await container.stop();
  t.equal(await containerListeners(engine, container.id, signal()), undefined);
  t.equal(await containerListeners(engine, "no-such-container", signal()), undefined);
});
