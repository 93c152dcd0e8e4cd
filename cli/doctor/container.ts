import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { publishDemo, zipOf } from "../../conf/demo.ts";
import type { DriverName } from "../../drivers/driver.ts";
import { Fault } from "../../lib/fault.ts";
import { ownFile } from "../../lib/own-files.ts";
import { sendRequest } from "./send-request.ts";
import { parseJson } from "../../lib/parse-json.ts";
import { urlAt, type CheckContext, type CheckResult } from "./check.ts";

const PACKAGE = "berth-doctor";
const FOLDER = "echo";
const GREETING = "berth doctor";

/** The image of the test container; none if the driver runs folders. */
type EchoSource = { image?: string; env?: Record<string, string> };

/** The source of the image, by driver; other drivers need --image. */
const ECHO_SOURCES: Partial<Record<DriverName, (chain: CheckContext, signal: AbortSignal) => Promise<EchoSource | { cannot: string }>>> = {
  process: async () => ({}),
  docker: ofThisProgram,
  // An image on one node is enough for a Swarm of one.
  swarm: async (chain, signal) =>
    chain.shared.nodes === 1 ? ofThisProgram(chain, signal) : { cannot: "a swarm's nodes have no image in common without a registry" },
};

async function ofThisProgram(chain: CheckContext, signal: AbortSignal): Promise<EchoSource | { cannot: string }> {
  const { makeEchoImage } = await import("./echo-image.ts");
  const made = await makeEchoImage(chain, { file: ownFile(ECHO_FILE), port: ECHO_PORT }, signal);
  return "ref" in made ? { image: made.ref } : made;
}

/** A cold start like a plugin's: publishes over the edge, and starts the container by a request. It is removed after all checks. */
export async function checkContainer(chain: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const { settings, server, key, options, clock, shared } = chain;
  const base = urlAt(server, "");
  if (settings.datagrok.url !== undefined) return { unlooked: "packages are published to the Datagrok server, and not to berth" };
  if (key === undefined) return { unlooked: "there is no developer key to publish with: --key-file" };
  if (!settings.dockerSettings.useGrokSpawner) return { unlooked: "containers are disabled (dockerSettings.useGrokSpawner)" };
  const driver = shared.driver;
  if (driver === undefined) return { unlooked: "which driver there is was not found" };
  const source =
    options.image === undefined ? await ECHO_SOURCES[driver]?.(chain, signal) : { image: options.image, env: { BERTH_ROLE: "doctor-echo" } };
  if (source === undefined) return { unlooked: `${driver} runs what a registry has: --image names an image of berth there` };
  if ("cannot" in source) return { unlooked: `${source.cannot}: --image names an image of berth` };
  const folder = mkdtempSync(join(tmpdir(), "berth-doctor-"));
  chain.addCleanup(`The folder ${folder}`, async () => rmSync(folder, { recursive: true, force: true }));
  const [whole, empty] = [join(folder, "whole"), join(folder, "empty")];
  writePackage(whole, source);
  writePackage(empty, undefined);
  chain.addCleanup(`The package ${PACKAGE}`, async (ending) => {
    const { token = await chain.signIn(`${base}/api`, key, ending) } = shared.echo ?? {};
    await removeAll(base, token, key, empty, ending);
  });
  const { id, token } = await publishDemo({ base, devKey: key, folder: whole, clock, signal, hint: "see what the driver says" });
  shared.echo = { id, token };
  const begun = clock.monotonic();
  const { status, text } = await sendRequest(`${base}/api/docker/containers/proxy/${id}/`, { headers: { authorization: token }, signal });
  if (status === 200 && text === GREETING) return { says: `${driver}, woken by a request in ${((clock.monotonic() - begun) / 1_000).toFixed(1)} s` };
  const body = (parseJson(text) ?? {}) as { "datagrok-error"?: string };
  throw new Fault("CHAIN_BROKEN", `The container does not answer: ${status} ${(body["datagrok-error"] ?? text).slice(0, 1_000)}`);
}

function writePackage(folder: string, source: EchoSource | undefined): void {
  const place = join(folder, "dockerfiles", FOLDER);
  mkdirSync(source === undefined ? folder : place, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: PACKAGE, version: "1.0.0" }));
  if (source === undefined) return;
  const { image, env } = source;
  const how = { cpu: 0.25, memory: 256, on_demand: true, shutdown_timeout: 10, ...(image === undefined ? {} : { image, port: ECHO_PORT, env }) };
  writeFileSync(join(place, "container.json"), JSON.stringify(how));
  if (image !== undefined) return;
  writeFileSync(join(place, "Dockerfile"), `FROM scratch\nEXPOSE ${ECHO_PORT}\nCMD ["node", "echo.mjs"]\n`);
  copyFileSync(ownFile(ECHO_FILE), join(place, "echo.mjs"));
}

/** Stops and deletes the containers, then publishes the package without containers: packages cannot be removed. */
async function removeAll(base: string, token: string, key: string, empty: string, signal: AbortSignal): Promise<void> {
  const headers = { authorization: token };
  const text = encodeURIComponent(encodeURIComponent(`name = "${PACKAGE}-${FOLDER}"`));
  const listed = await sendRequest(`${base}/api/docker/containers?text=${text}`, { headers, signal });
  for (const { id } of (parseJson(listed.text) ?? []) as { id: string }[]) {
    await sendRequest(`${base}/api/docker/containers/${id}/stop?awaitStop=true`, { headers, signal });
    await sendRequest(`${base}/api/docker/containers/${id}`, { method: "DELETE", headers, signal });
  }
  const { status } = await sendRequest(`${base}/api/packages/dev/${PACKAGE}`, {
    method: "POST",
    headers: { authorization: `Dev ${key}` },
    body: await zipOf(empty),
    signal,
  });
  if (status >= 300) throw new Fault("CHAIN_BROKEN", `publishing it without containers is answered ${status}.`);
}

/** The program of the test container, by its path in the source tree. */
export const ECHO_FILE = "cli/doctor/echo.mjs";
/** Its default port. */
const ECHO_PORT = 8080;
