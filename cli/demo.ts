import { readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import type { Clock } from "../lib/clock.ts";
import { demoBanner, BUILD_DEMO_IMAGE, DEMO_FOLDER, DEMO_IMAGE, saveDemoToken, publishDemo } from "../conf/demo.ts";
import type { Settings } from "../conf/settings.ts";
import { ADMIN_KEY_FILE, adminKey } from "../control/identity/admin-key.ts";
import { withTimeout } from "../lib/deadline.ts";
import { Fault } from "../lib/fault.ts";
import { type HttpFailure, openHttpClient, type SecureRequestOptions } from "../lib/http-client.ts";
import { engineAt } from "../processes/open-driver.ts";
import { untilSignal } from "../processes/parent.ts";
import { loadSettingsAndLog, type CommandContext } from "./command-context.ts";
import { listenerUrl, startServe } from "./serve.ts";
import { X509Certificate } from "node:crypto";

/** Limit for stopping the demo container at the end. */
const STOP_MS = 15_000;
const MAX_BYTES = 1_048_576;
const ENGINE_ANSWERS_MS = 10_000;

/** `berth demo`: a complete berth with a demo plugin, which is published over the edge like an author's. */
export async function run(context: CommandContext): Promise<void> {
  const { settings, sources, log } = loadSettingsAndLog(context, "demo");
  // A newcomer's machine may have no container engine.
  const driver = sources["driver"] === "default" ? "process" : settings.driver;
  if (driver === "docker") await requireDemoImage(settings, context.clock);
  const quiet = sources["logLevel"] === "default" ? { BERTH_LOG_LEVEL: "error" } : {};
  // SIGHUP: a closed terminal ends the demo too.
  const stopRequested = untilSignal(["SIGTERM", "SIGINT", "SIGHUP"]);
  const served = await startServe(context, settings, log, { BERTH_DRIVER: driver, ...quiet });
  const stopped = new AbortController();
  void stopRequested.then(() => stopped.abort());
  // A listener on every interface is reachable on this one, too.
  const base = listenerUrl({ ...settings, edgeHost: /^(0\.0\.0\.0|::)$/.test(settings.edgeHost) ? "127.0.0.1" : settings.edgeHost }, served.port);
  const trust = settings.tlsCert === undefined ? undefined : demoTrust(settings.tlsCert, new URL(base).hostname);
  const tls = trust && trustOptions(trust);
  try {
    await Promise.race([served.ready, stopRequested]);
    stopped.signal.throwIfAborted();
    const { key } = adminKey({ dataFolder: settings.data, given: settings.adminKey });
    const demo = await publishDemo({ base, devKey: key, folder: DEMO_FOLDER, clock: context.clock, signal: stopped.signal, tls });
    const tokenFile = join(settings.data, "demo.token");
    saveDemoToken(tokenFile, demo.token);
    const shown = new URL(base);
    const banner = {
      base,
      console: consoleUrl(settings, shown, served.consolePort),
      id: demo.id,
      name: demo.name,
      driver: driver === "auto" ? "docker" : driver,
    } as const;
    console.log(
      demoBanner({
        ...banner,
        tokenFile: typed(tokenFile),
        dataFolder: typed(settings.data),
        keyPlace:
          settings.adminKey === undefined
            ? `To print it again: cat ${typed(join(settings.data, ADMIN_KEY_FILE))}`
            : "It is the value of BERTH_ADMIN_KEY.",
        idleMinutes: idleMinutes(),
        hasNode: context.script !== undefined,
        tls: trust && { certFile: typed(settings.tlsCert ?? ""), isForHost: trust.isForHost },
      }),
    );
    await stopRequested;
    await stopDemo(`${base}/api/docker/containers/${demo.id}/stop?awaitStop=true`, demo.token, context.clock, tls);
  } catch (error) {
    if (!stopped.signal.aborted) throw error;
  } finally {
    await served.stop();
  }
}

function consoleUrl({ consoleUrl: url, consoleName }: Settings, edge: URL, port: number | undefined): string {
  if (url !== undefined) return new URL(url).origin;
  if (consoleName !== undefined) return `${edge.protocol}//${consoleName}:${edge.port}`;
  return port === undefined ? edge.origin : `${edge.protocol}//${edge.hostname}:${port}`;
}

/** Fails at once instead of waiting for an image that was never built. Faults: PACKAGE_INVALID, and the engine's own. */
async function requireDemoImage(settings: Settings, clock: Clock): Promise<void> {
  const { openEngine } = await import("../drivers/engine/engine.ts");
  const { localImage } = await import("../drivers/engine/images.ts");
  const engine = openEngine(engineAt(settings), clock);
  try {
    const overdue = () => new Fault("ENGINE_UNREACHABLE", `The Docker engine did not answer within ${ENGINE_ANSWERS_MS / 1_000} s.`);
    if (await withTimeout({ clock, ms: ENGINE_ANSWERS_MS, overdue }, (signal) => localImage(engine, DEMO_IMAGE, signal))) return;
  } finally {
    engine.close();
  }
  if (settings.registry.url !== undefined || settings.registry.ecrMode) return;
  throw new Fault("PACKAGE_INVALID", `Docker has no image ${DEMO_IMAGE}. Build it, then start again:\n  ${BUILD_DEMO_IMAGE}`);
}

/** The path as a user here would type it. */
function typed(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith("..") ? resolve(path) : near;
}

function idleMinutes(): number {
  const config = readFileSync(join(DEMO_FOLDER, "dockerfiles/square/container.json"), "utf8");
  return (JSON.parse(config) as { shutdown_timeout: number }).shutdown_timeout;
}

/** The demo container ends with the demo. */
async function stopDemo(url: string, token: string, clock: Clock, tls: SecureRequestOptions = {}): Promise<void> {
  const toFault = ({ why, cause }: HttpFailure) => new Fault("STOP_TIMED_OUT", `The demo container did not stop: ${why}.`, { cause });
  const client = openHttpClient({ clock, maxBytes: MAX_BYTES, timeoutMs: STOP_MS, options: tls, toFault });
  await client.request({ url, headers: { authorization: token } }).finally(client.close);
}

/** How the demo reaches its own edge over TLS: this certificate and no other, with any issuer and any name. */
type DemoTrust = { certificate: string; isForHost: boolean };

/** The edge's certificate, from the file that the setting names. `host` is the address that the demo calls. Faults: SETTINGS_INVALID. */
function demoTrust(file: string, host: string): DemoTrust {
  try {
    const certificate = readFileSync(file, "utf8");
    const parsed = new X509Certificate(certificate);
    return { certificate, isForHost: (parsed.checkIP(host) ?? parsed.checkHost(host)) !== undefined };
  } catch (error) {
    throw new Fault("SETTINGS_INVALID", `BERTH_TLS_CERT names ${file}, which is no readable PEM certificate (${(error as Error).message}).`);
  }
}

function trustOptions({ certificate }: DemoTrust): SecureRequestOptions {
  return { ca: certificate, allowPartialTrustChain: true, checkServerIdentity: () => undefined };
}
