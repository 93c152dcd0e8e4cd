import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { calloutCases, CONFIGS, editConfig, startProgram } from "./proxy-cases.ts";

calloutCases(t, {
  name: "HAProxy",
  reports: "counts",
  start: async (t, ports) => {
    const folder = tempFolder(t);
    const config = editConfig(readFileSync(join(CONFIGS, "haproxy.cfg"), "utf8"), ports)
      .replace("127.0.0.1:8090", `127.0.0.1:${ports.port}`)
      .replace("/etc/haproxy/haproxy.lua", join(CONFIGS, "haproxy.lua"));
    writeFileSync(join(folder, "haproxy.cfg"), config);
    return startProgram(t, "haproxy", ["-db", "-f", join(folder, "haproxy.cfg")], { port: ports.port });
  },
});
