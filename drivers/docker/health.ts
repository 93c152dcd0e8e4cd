import type { ContainerInspectInfo } from "dockerode";
import { readinessOfHealthcheck } from "../../lib/image-healthcheck.ts";
import type { Log } from "../../lib/log.ts";
import type { DeployCall, Deployment, Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { parseHealthcheck } from "../image.ts";
import { awaitPort, awaitReady, awaitResponse, firstOf, pauseAfter, type ReadyTarget, takesConnection } from "../ready.ts";
import { findContainer } from "./observe.ts";

const SECOND = 1_000_000_000;

/**
 * Makes the engine run the image's own check twice a second while the container starts; the rest of the check stays as the image has it. The engine waits for
 * the interval before the first check, and a wake must not get slower by a second. In the start period a failed check does not count. Engines before API
 * 1.44 ignore the interval.
 */
export const CHECK_WHILE_STARTING = { StartPeriod: 300 * SECOND, StartInterval: SECOND / 2 };

/** A call to the engine costs more than a connection. */
const INSPECT_EVERY_MS = 100;
const MAX_OUTPUT = 200;

/** `openPortMs`: after how long an open port counts although the check fails. */
type ReadyDeps = { engine: Engine; log: Log; openPortMs: number } & Pick<DeployCall, "signal" | "onHealthStatus" | "onLookup">;
type ImageCheck = { health: NonNullable<ContainerInspectInfo["State"]["Health"]>; ownPort: ReturnType<typeof readinessOfHealthcheck> };

/** As `awaitReady`, with the image's own health check. A warning if the check fails although the port has been open for a while. */
export async function awaitContainerReady(
  { engine, log, openPortMs, signal, onHealthStatus, onLookup }: ReadyDeps,
  spec: Spec,
  { id, adopted }: { id: string; adopted: boolean },
  target: ReadyTarget,
): Promise<Deployment["warning"]> {
  const { clock } = engine;
  const isPortNeeded = spec.readiness.kind !== "healthcheck" || !spec.readiness.portStaysClosed;
  const { address, proof } = isPortNeeded ? target : { ...target, address: undefined };
  const container = spec.readiness.kind === "healthcheck" ? await findContainer(engine, id, signal) : undefined;
  const check = container && checkOf(container, spec);
  // Without a check in the image, or with an older engine, whose first check would come after its whole interval.
  if (!check || container.Config.Healthcheck?.StartInterval !== CHECK_WHILE_STARTING.StartInterval) {
    await awaitReady({ ...spec, readiness: check?.ownPort ?? spec.readiness }, { ...target, address }, { clock, signal, onHealthStatus, onLookup });
    return undefined;
  }

  const awaitHealthy = async (own: AbortSignal) => {
    for (const began = clock.monotonic(); ;) {
      const current = await findContainer(engine, id, own);
      if (current?.State.Health?.Status === "healthy") break;
      await clock.sleep(Math.max(INSPECT_EVERY_MS, pauseAfter(clock.monotonic() - began)), own);
    }
    // It may listen on its loopback address only, where no gateway reaches it.
    if (address) await awaitPort(address, proof, { clock, signal: own, onLookup });
    return undefined;
  };
  const awaitOpenPort = async (own: AbortSignal): Promise<string> => {
    const enoughMs = adopted && check.health.Status === "unhealthy" ? 0 : openPortMs;
    for (let since = clock.monotonic(), open = address === undefined; ;) {
      if (address && !open) {
        await awaitPort(address, proof, { clock, signal: own, onLookup });
        since = clock.monotonic();
        open = true;
      }
      if (clock.monotonic() - since >= enoughMs) break;
      await clock.sleep(Math.min(1_000, enoughMs), own);
      if (address) open = await takesConnection(address, proof, { clock, signal: own });
    }
    const last = (await findContainer(engine, id, own))?.State.Health?.Log?.at(-1);
    log.warn({ service: spec.service, exitCode: last?.ExitCode }, "image's health check fails, container counts as started");
    return warning(spec, last, openPortMs);
  };
  return firstOf<Deployment["warning"]>(signal, (own) => [
    awaitHealthy(own),
    // Sooner than the engine's next check.
    ...(check.ownPort && address ? [awaitResponse(address, check.ownPort, { clock, signal: own }).then(() => undefined)] : []),
    awaitOpenPort(own),
  ]);
}

/** `ownPort`: the check, if it is a GET of the container's own port. */
function checkOf({ State, Config }: ContainerInspectInfo, spec: Spec): ImageCheck | undefined {
  const { Health: health } = State;
  const healthcheck = parseHealthcheck(Config.Healthcheck);
  if (!health || !healthcheck) return undefined;
  const http = readinessOfHealthcheck(healthcheck);
  return { health, ownPort: http?.port === spec.port ? http : undefined };
}

function warning({ port, readiness }: Spec, last: { ExitCode?: number; Output?: string } | undefined, openPortMs: number): string {
  const output = last?.Output?.trim().slice(-MAX_OUTPUT) ?? "";
  const result = last === undefined ? "has not finished" : `fails (exit code ${last.ExitCode}${output === "" ? "" : `: ${output}`})`;
  const isPortOpen = port !== undefined && !(readiness.kind === "healthcheck" && readiness.portStaysClosed);
  const works = !isPortOpen ? "The container has run" : `Port ${port} has accepted connections`;
  const todo = "Correct the HEALTHCHECK, or set `health` in container.json.";
  return `The image's HEALTHCHECK ${result}. ${works} for ${openPortMs / 1_000} s, so the container counts as started. ${todo}`;
}
