import { join } from "node:path";
import t from "tap";

/** Tests that every engine passes, for the one that a gateway does not have by default. */
const ENGINES: readonly Record<string, string>[] = [{ BERTH_FORWARDER: "http-proxy" }];
const FILES = [
  "aborts",
  "exchange/intercept",
  "containers/credentials",
  "derived-token",
  "containers/suspect-address",
  "error-table",
  "half-open-responses",
  "forwarded-headers",
  "containers/hold",
  "http-transparency",
  "websockets/accept-websocket",
  "containers/end-revoked-exchanges",
  "containers/service-worker",
  "transparent-upgrade",
].map((name) => `${name}.test.ts`);

t.jobs = 2;
for (const engine of ENGINES) {
  for (const file of FILES) {
    const name = `${file}, ${Object.values(engine).join(" ")}`;
    void t.spawn(process.execPath, [join(import.meta.dirname, file)], { env: { ...process.env, ...engine }, buffered: true }, name);
  }
}
