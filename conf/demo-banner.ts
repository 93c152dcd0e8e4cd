import type { DriverName } from "../drivers/driver.ts";

const RUNS_IN: Partial<Record<DriverName, string>> = {
  process: "a plain child process here, isolated by nothing: for trying out only",
  docker: "a container of the Docker engine",
};

/** What `npm start` prints: what there is, and commands to paste. `tokenFile` and `dataFolder` are as the user would type them. */
export function demoBanner(demo: {
  base: string;
  /** Where the console is. */
  console: string;
  id: string;
  name: string;
  driver: DriverName;
  tokenFile: string;
  dataFolder: string;
  idleMinutes: number;
  /** There is a Node here with `ws`, as there is in the source tree alone. */
  hasNode: boolean;
  /** Where the edge speaks TLS: its certificate, and whether that is for the address in `base`. */
  tls?: { certFile: string; isForHost: boolean } | undefined;
}): string {
  const path = `/api/docker/containers/proxy/${demo.id}/square?number=4`;
  const socket = `${demo.base.replace(/^http/, "ws")}/api/docker/containers/proxy-ws/${demo.id}/ws`;
  const minutes = demo.idleMinutes === 1 ? "a minute" : `${demo.idleMinutes} minutes`;
  const { tls } = demo;
  const curlTls = tls === undefined ? "" : tls.isForHost ? `--cacert ${tls.certFile} ` : "--insecure ";
  const socketTls =
    tls === undefined
      ? ""
      : tls.isForHost
        ? `, ca: require("fs").readFileSync("${tls.certFile}"), allowPartialTrustChain: true`
        : ", rejectUnauthorized: false";
  // The package `ws` rather than Node's own WebSocket: the machine's Node may be too old to have one.
  const script = [
    `const s = new (require("ws"))("${socket}", { headers: { authorization: require("fs").readFileSync("${demo.tokenFile}", "utf8").trim() }${socketTls} });`,
    `s.on("message", (m) => { console.log(String(m)); String(m) === "CONNECTED" ? s.send("hello") : s.close(1000); });`,
    `s.on("close", (code, why) => console.log("closed", code, String(why)));`,
  ].join(" ");
  return `
berth listens on ${demo.base} and keeps its data in ${demo.dataFolder}.
Its console is at ${demo.console}/

The demo container "${demo.name}" is asleep; it is ${RUNS_IN[demo.driver] ?? `run by ${demo.driver}`}.
The first request wakes it; this prints {"result":16}:

  curl ${curlTls}-H "Authorization: $(cat ${demo.tokenFile})" "${demo.base}${path}"

${demo.hasNode ? `A WebSocket wakes it too; this prints CONNECTED, then hello:\n\n  node -e '${script}'\n\n` : ""}Left alone for ${minutes}, it is stopped again. Ctrl-C stops berth.
`;
}
