import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connect } from "node:tls";
import t from "tap";

import { makeCertificate } from "../fixtures/certificates.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";

/** The certificate that a berth shows to a new connection. */
function nameShown(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false }, () => {
      const { CN } = socket.getPeerCertificate().subject;
      resolve(String(CN));
      socket.destroy();
    });
    socket.once("error", reject);
  });
}

t.test("a berth that gets SIGHUP shows its new certificate from every gateway and the console, and its connections go on", async (t) => {
  const data = tempFolder(t);
  const [cert, key] = [join(data, "edge.crt"), join(data, "edge.key")];
  const put = (name: string) => {
    const made = makeCertificate(data, name);
    writeFileSync(cert, made.cert);
    writeFileSync(key, made.key);
  };
  put("before");
  const env = {
    PATH: process.env["PATH"] ?? "",
    BERTH_EDGE_PORT: "0",
    BERTH_CONSOLE_PORT: "0",
    BERTH_DATA: join(data, "berth-data"),
    BERTH_DRIVER: "process",
    BERTH_WORKERS: "2",
    BERTH_TLS_CERT: cert,
    BERTH_TLS_KEY: key,
  };
  const berth = spawn(process.execPath, [join(import.meta.dirname, "../../berth.ts"), "serve"], {
    cwd: data,
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.teardown(() => berth.kill("SIGKILL"));
  const ports: Record<string, number> = {};
  for await (const line of createInterface({ input: berth.stdout })) {
    const [, what = "", port] = /^(berth|console) .*at https:\/\/127\.0\.0\.1:(\d+)$/.exec(line) ?? [];
    ports[what] = Number(port);
    if (what === "console") break;
  }
  const { berth: port = 0, console: consolePort = 0 } = ports;
  t.equal(await nameShown(port), "before");
  t.equal(await nameShown(consolePort), "before");
  const open = connect({ port, host: "127.0.0.1", rejectUnauthorized: false });
  await once(open, "secureConnect");

  put("after");
  berth.kill("SIGHUP");
  await eventually("both gateways to show it", async () => {
    const shown = await Promise.all(Array.from({ length: 8 }, () => nameShown(port)));
    return shown.every((name) => name === "after") ? true : undefined;
  });
  await eventually("the console to show it", async () => (await nameShown(consolePort)) === "after");
  open.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  t.match(String((await once(open, "data"))[0]), /^HTTP\/1\.1 200 /);
  const ended = once(berth, "exit");
  berth.kill("SIGTERM");
  t.strictSame(await ended, [0, null]);
});
