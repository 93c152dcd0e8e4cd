import { spawnSync } from "node:child_process";
import { readFile } from "node:fs";
import { createServer } from "node:net";
import t from "tap";
import { acceptWaiting } from "../../../gateway/connections/engine.ts";
import { listen } from "../../fixtures/server.ts";

t.test("what waits at a listener is accepted, also in the turn in which it came", async (t) => {
  let accepted = 0;
  const server = createServer((socket) => {
    accepted++;
    socket.on("error", () => undefined).destroy();
  });
  const { port } = await listen(t, server);
  // Within an event of the kernel: the events of listeners come in the next turn.
  await new Promise((resolve) => {
    readFile(import.meta.filename, resolve);
  });
  spawnSync("bash", ["-c", `for client in 1 2 3; do exec {fd}<>/dev/tcp/127.0.0.1/${port}; done`]);
  await acceptWaiting(() => accepted);
  t.equal(accepted, 3);
});
