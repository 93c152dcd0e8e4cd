import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { calloutCases, CONFIGS, editConfig, startProgram } from "./proxy-cases.ts";

calloutCases(t, {
  name: "nginx",
  reports: "log",
  keepsCookies: true,
  start: async (t, ports) => {
    const folder = tempFolder(t);
    const config = (name: string) => editConfig(readFileSync(join(CONFIGS, name), "utf8"), ports).replace("#access_log syslog", "access_log syslog");
    writeFileSync(join(folder, "http.conf"), config("nginx-http.conf"));
    writeFileSync(join(folder, "server.conf"), config("nginx.conf"));
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join("\n");
    const errorLog = join(folder, "error.log");
    writeFileSync(
      join(folder, "nginx.conf"),
      `daemon off; master_process off; pid ${folder}/pid; error_log ${errorLog} warn;
events {}
http {
  access_log off;
  ${temporary}
  include ${folder}/http.conf;
  server { listen 127.0.0.1:${ports.port}; include ${folder}/server.conf; }
}`,
    );
    return startProgram(t, "nginx", ["-p", folder, "-c", join(folder, "nginx.conf"), "-e", errorLog], { errorLog, port: ports.port });
  },
});
