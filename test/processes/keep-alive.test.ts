import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import t from "tap";
import { startBerthProcess } from "../fixtures/berth-process.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { PATIENCE_MS } from "../fixtures/eventually.ts";

t.test("each listener keeps a connection between two requests as long as is set, and no longer", async (t) => {
  const cwd = tempFolder(t);
  const ports = { BERTH_EDGE_PORT: "0", BERTH_SPAWNER_PORT: "0", BERTH_REGISTRY_PORT: "0" };
  const services = { BERTH_DRIVER: "process", BERTH_SPAWNER: "on", REGISTRY_URL: "127.0.0.1:1" };
  const berth = await startBerthProcess({
    role: "serve",
    cwd,
    env: { ...ports, ...services, BERTH_KEEP_ALIVE_TIMEOUT: "1000" },
    announces: /^spawner at \S+:(\d+)$/,
  });
  t.teardown(() => berth.end("SIGTERM"));
  const port = (line: RegExp) => Number(line.exec(berth.output())?.[1]);
  const listeners = [
    { at: port(/^berth \S+ at \S+:(\d+)$/m), path: "/readyz" },
    { at: port(/^registry proxy at \S+:(\d+)$/m), path: "/readyz" },
    { at: Number(berth.announced[1]), path: "/info" },
  ];
  await Promise.all(
    listeners.map(async ({ at, path }) => {
      const socket = connect({ host: "127.0.0.1", port: at });
      t.teardown(() => socket.destroy());
      await once(socket, "connect");
      const output = text(socket);
      for (let times = 0; times < 2; times++) {
        socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
        await once(socket, "data", { signal: AbortSignal.timeout(PATIENCE_MS) });
      }
      // By default it would be 75 s.
      await once(socket, "close", { signal: AbortSignal.timeout(PATIENCE_MS) });
      t.equal((await output).split("HTTP/1.1 200").length, 3, path);
    }),
  );
});
