import { join } from "node:path";
import t from "tap";

/** The WebSocket path is one for all engines and ways of reading: its tests, for those that a gateway does not have by default. */
const ENGINES: readonly Record<string, string>[] = [{ BERTH_FORWARDER: "http-proxy" }, { BERTH_FORWARDER: "splice", BERTH_READS: "buffers" }];
const FILES = ["proxy-ws.test.ts", "transparent-upgrade.test.ts"];

t.jobs = 2;
for (const engine of ENGINES) {
  for (const file of FILES) {
    const name = `${file}, ${Object.values(engine).join(" ")}`;
    void t.spawn(process.execPath, [join(import.meta.dirname, file)], { env: { ...process.env, ...engine }, buffered: true }, name);
  }
}
