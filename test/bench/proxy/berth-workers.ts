/** Several of `berth-process.ts` on one listening socket, as `berth serve` with BERTH_WORKERS: `node berth-workers.ts FOLDER PORT SETTINGS WORKERS`. */
import { fork } from "node:child_process";
import { join } from "node:path";
import { systemClock } from "../../../lib/clock.ts";
import { openListeningHandle } from "../../../processes/listeners.ts";

const [folder = "", port = "", settings = "{}", workers = "2"] = process.argv.slice(2);
const { handle } = await openListeningHandle({ host: "127.0.0.1", port: Number(port) }, systemClock());
for (let worker = 0; worker < Number(workers); worker++) {
  const child = fork(join(import.meta.dirname, "berth-process.ts"), [folder, port, settings]);
  child.send({}, handle as never);
  child.once("exit", () => process.exit(1));
}
process.once("SIGTERM", () => process.exit(0));
