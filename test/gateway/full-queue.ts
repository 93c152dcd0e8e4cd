import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import type { Test } from "tap";

/** Listens, and never accepts: it blocks its own loop. */
const LISTENER = `
  const server = require("node:net").createServer();
  server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
    require("node:fs").writeSync(1, server.address().port + "\\n");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });
`;

/** An address that neither accepts nor refuses, like an unused one: the kernel's queue for connections is full there. */
export async function openFullQueue(t: Test): Promise<{ host: string; port: number }> {
  const child = spawn(process.execPath, ["-e", LISTENER], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  const [port] = (await once(child.stdout, "data")) as [Buffer];
  const address = { host: "127.0.0.1", port: Number(String(port)) };
  for (let filled = 0; filled < 8; filled++) {
    const socket = connect(address);
    socket.on("error", () => undefined);
    t.teardown(() => socket.destroy());
    const connected = once(socket, "connect");
    const late = new Promise((resolve) => setTimeout(resolve, 200, "late"));
    if ((await Promise.race([connected, late])) === "late") return address;
  }
  throw new Error("the queue does not fill");
}
