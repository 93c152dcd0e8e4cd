import { existsSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { SOCKET_KINDS, testSockets } from "../fixtures/connections.ts";

/** The tests that see most of the engine in little time, on the kinds of sockets that a gateway does not have by default. `npm run test:sockets` runs all. */
const FILES = [
  "aborts",
  "connections",
  "descriptors",
  "drain",
  "half-closed-clients",
  "http-transparency",
  "limits",
  "odd-clients",
  "time-limits",
  "transparent-upgrade",
  "exchange/pool",
  "http1/poisoned-answers",
  "http1/smuggling-end-to-end",
  "tcp/tcp-connection",
  "websockets/accept-websocket",
  "websockets/splice-websocket",
].map((name) => `${name}.test.ts`);

t.test("each of these tests exists", async (t) => {
  t.same(
    FILES.filter((file) => !existsSync(join(import.meta.dirname, file))),
    [],
  );
});

t.jobs = 2;
for (const sockets of SOCKET_KINDS.filter((kind) => kind !== testSockets())) {
  for (const file of FILES) {
    const env = { ...process.env, BERTH_SOCKETS: sockets };
    void t.spawn(process.execPath, [join(import.meta.dirname, file)], { env, buffered: true }, `${file}, sockets of ${sockets}`);
  }
}
