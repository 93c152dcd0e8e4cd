import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { calloutCases, CONFIGS, editConfig, startProgram } from "./proxy-cases.ts";

calloutCases(t, {
  name: "Caddy",
  reports: undefined,
  start: async (t, ports) => {
    const folder = tempFolder(t);
    const file = join(folder, "Caddyfile");
    writeFileSync(file, editConfig(readFileSync(join(CONFIGS, "Caddyfile"), "utf8"), ports).replace("http://:8090", `http://:${ports.port}`));
    return startProgram(t, "caddy", ["run", "--adapter", "caddyfile", "--config", file], { port: ports.port });
  },
});
