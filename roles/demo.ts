import { readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import { demoBanner } from "../conf/demo-banner.ts";
import { DEMO_FOLDER, keepDemoToken, publishDemo } from "../conf/demo.ts";
import type { Settings } from "../conf/settings.ts";
import type { DriverName } from "../drivers/driver.ts";
import { Fault } from "../fault.ts";

/** How long stopping the demo container may take when the person has had enough. */
const STOP_MS = 15_000;

/**
 * Publishes the demo plugin into a berth that runs, over its edge as an author would, and prints what to try. The returned function
 * stops the container again, since what a trial started should end with it.
 */
export async function runDemo(options: {
  settings: Settings;
  driver: DriverName | "auto";
  port: number;
  devKey: string;
  signal: AbortSignal;
  clock: Clock;
}): Promise<() => Promise<void>> {
  const { settings, driver, port, devKey, signal, clock } = options;
  // Whoever listens on every interface is reached on this one too.
  const host = /^(0\.0\.0\.0|::)$/.test(settings.edgeHost) ? "127.0.0.1" : settings.edgeHost;
  const base = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const { id, name, token } = await publishDemo({ base, devKey, folder: DEMO_FOLDER, clock, signal });
  const tokenFile = join(settings.data, "demo.token");
  keepDemoToken(tokenFile, token);
  const config = JSON.parse(readFileSync(join(DEMO_FOLDER, "dockerfiles/square/container.json"), "utf8")) as { shutdown_timeout: number };
  const typed = (path: string) => (relative(process.cwd(), path).startsWith("..") ? resolve(path) : relative(process.cwd(), path));
  console.log(
    demoBanner({
      base,
      id,
      name,
      driver: driver === "auto" ? "docker" : driver,
      tokenFile: typed(tokenFile),
      dataFolder: typed(settings.data),
      idleMinutes: config.shutdown_timeout,
    }),
  );
  const late = () => new Fault("STOP_TIMED_OUT", `The demo container did not stop within ${STOP_MS / 1_000} s.`);
  return async () => {
    const stop = `${base}/api/docker/containers/${id}/stop?awaitStop=true`;
    await fetch(stop, { headers: { authorization: token }, signal: clock.deadline(STOP_MS, late) }).then((answer) => answer.text());
  };
}
