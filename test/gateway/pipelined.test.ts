import { readFileSync } from "node:fs";
import { once } from "node:events";
import { connect } from "node:net";
import t from "tap";
import { startBerth } from "../fixtures/berth.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";

const CONNECTIONS = 300;
const REQUESTS = 500;
const MOST_MB = 400;

function children(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
}

/** Memory of all processes of the berth, in MB. */
function memoryMb(pid: number): number {
  const kb = (one: number) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${one}/status`, "utf8"))?.[1] ?? 0);
  return [pid, ...children(pid)].reduce((sum, one) => sum + kb(one), 0) / 1_024;
}

t.test("clients that pipeline requests and read no response cost little memory and delay no other client", async (t) => {
  const folder = tempFolder(t);
  const berth = await startBerth({ data: folder, env: { BERTH_DRIVER: "process", XDG_RUNTIME_DIR: folder } });
  t.teardown(() => berth.stop());
  const { hostname, port } = new URL(berth.base);
  const before = memoryMb(berth.pid);
  const pipelined = "GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(REQUESTS);
  let written = 0;
  const sockets = await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const socket = connect({ host: hostname, port: Number(port), localAddress: "127.0.0.2" });
      t.teardown(() => socket.destroy());
      socket.on("error", () => undefined);
      // Nothing is read: there is no listener for data.
      await once(socket, "connect");
      socket.write(pipelined, () => written++);
      return socket;
    }),
  );
  t.equal(sockets.length, CONNECTIONS);
  await eventually("all of it was sent", () => written === CONNECTIONS);
  const durations: number[] = [];
  let most = 0;
  for (let call = 0; call < 10; call++) {
    const started = performance.now();
    const response = await berth.call("/docker/containers");
    await response.arrayBuffer();
    durations.push(performance.now() - started);
    t.equal(response.status, 200);
    most = Math.max(most, memoryMb(berth.pid));
  }
  // Not the slowest: on a busy machine one call waits for other programs too.
  const usualMs = durations.toSorted((one, other) => one - other)[5] ?? Infinity;
  t.ok(usualMs < 5_000, `most of 10 calls of another user took ${Math.round(usualMs)} ms`);
  t.ok(most - before < MOST_MB, `${Math.round(most - before)} MB more than the ${Math.round(before)} MB at rest`);
});
