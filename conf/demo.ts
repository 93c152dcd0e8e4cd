import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { ZipFile } from "yazl";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import { type HttpRequest, openHttpClient, type SecureRequestOptions } from "../lib/http-client.ts";
import { ownFile } from "../lib/own-files.ts";
import type { DriverName } from "../drivers/driver.ts";

/** What is published is what a plugin's author would write. */
export const DEMO_FOLDER = ownFile("conf/demo");
/** What the demo's first user, admin, publishes: a debug tag is the publisher's login. */
export const DEMO_IMAGE = "datagrok/demo-square:admin";
export const BUILD_DEMO_IMAGE = `docker build -t ${DEMO_IMAGE} ${relative(process.cwd(), join(DEMO_FOLDER, "dockerfiles/square"))}`;

const CALL_MS = 15_000;
const READY_MS = 120_000;
const POLL_MS = 100;
const MAX_BYTES = 16 * 1_048_576;

type DemoEntity = { id: string; name: string; dockerfile: { status: string; logs?: string } };

/**
 * Publishes a package as its author would while developing it, by HTTP at the edge, and waits until the image of its first
 * container is ready. `base` is the edge's address without `/api`. Faults: PACKAGE_INVALID with the response,
 * VALIDATION_TIMED_OUT.
 */
export async function publishDemo(options: {
  base: string;
  devKey: string;
  folder: string;
  clock: Clock;
  signal: AbortSignal;
  /** What to look at where its image cannot be used. */
  hint?: string;
  /** How to trust the edge's certificate. */
  tls?: SecureRequestOptions | undefined;
}): Promise<{ id: string; name: string; token: string }> {
  const { base, devKey, folder, clock, signal, hint = `with Docker, build it first: ${BUILD_DEMO_IMAGE}`, tls } = options;
  const { name } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { name: string };
  const client = openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: CALL_MS,
    options: tls ?? {},
    toFault: ({ kind, url, why, cause }) =>
      new Fault(kind === "overdue" ? "VALIDATION_TIMED_OUT" : "PACKAGE_INVALID", `${name} was not published: ${url.pathname}: ${why}.`, { cause }),
  });
  const call = async <T>(path: string, request: Omit<HttpRequest, "url">): Promise<T> => {
    const reply = await client.request({ ...request, url: `${base}/api${path}`, signal });
    const text = reply.text();
    if (reply.status >= 300) throw new Fault("PACKAGE_INVALID", `${name} was not published: ${path} answered ${reply.status} ${text.slice(0, 500)}`);
    return JSON.parse(text) as T;
  };

  const { token } = await call<{ token: string }>("/users/login/dev", { method: "POST", headers: { authorization: `Dev ${devKey}` } });
  const body = await zipOf(folder);
  await call(`/packages/dev/${name}?debug=true`, { method: "POST", headers: { authorization: `Dev ${devKey}` }, body });

  const giveUpAt = clock.monotonic() + READY_MS;
  for (;;) {
    const listed = await call<DemoEntity[]>(`/docker/containers?text=${encodeURIComponent(encodeURIComponent(`${name}-`))}`, {
      headers: { authorization: token },
    });
    const entity = listed.find((one) => one.name.startsWith(`${name}-`));
    if (entity?.dockerfile.status === "ready") return { id: entity.id, name: entity.name, token };
    if (entity?.dockerfile.status === "error") {
      throw new Fault(
        "PACKAGE_INVALID",
        `The image of ${name} cannot be used (${hint}):\n${(entity.dockerfile.logs ?? "").trim() || "no reason was given"}`,
      );
    }
    if (clock.monotonic() > giveUpAt) throw new Fault("VALIDATION_TIMED_OUT", `The image of ${name} did not become ready.`);
    await clock.sleep(POLL_MS, signal);
  }
}

/** Keeps the session token where only this user can read it, so that no command line shows it. */
export function saveDemoToken(file: string, token: string): void {
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  chmodSync(file, 0o600);
}

/** All of a folder. */
export async function zipOf(folder: string): Promise<Uint8Array<ArrayBuffer>> {
  const zip = new ZipFile();
  const paths = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((path) => join(folder, path));
  for (const path of paths.filter((one) => statSync(one).isFile()).toSorted()) zip.addFile(path, relative(folder, path));
  zip.end();
  const pieces: Uint8Array[] = [];
  for await (const piece of zip.outputStream) pieces.push(piece as Buffer);
  return new Uint8Array(Buffer.concat(pieces));
}

const RUN_PLACES: Partial<Record<DriverName, string>> = {
  process: "a plain child process without isolation, for trying out only",
  docker: "a container of the Docker engine",
};

/** What `npm start` prints: what there is, and commands to paste. `tokenFile` and `dataFolder` are as the user would type them. */
export function demoBanner(demo: {
  base: string;
  /** How to get the first user's key again, as a sentence. */
  keyPlace: string;
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
Console:  ${demo.console}/
          Sign in with the developer key of admin. ${demo.keyPlace}
Edge:     ${demo.base}   (the API is at ${demo.base}/api)
Data:     ${demo.dataFolder}

The demo container "${demo.name}" is sleeping. When it runs, it is ${RUN_PLACES[demo.driver] ?? `a container of ${demo.driver}`}.
The first request starts it. This command prints {"result":16}:

  curl ${curlTls}-H "Authorization: $(cat ${demo.tokenFile})" "${demo.base}${path}"

${demo.hasNode ? `A WebSocket starts it too. This command prints CONNECTED, then hello:\n\n  node -e '${script}'\n\n` : ""}berth stops the container after ${minutes} without traffic. Ctrl-C stops berth.
`;
}
