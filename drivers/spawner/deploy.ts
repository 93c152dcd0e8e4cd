import { randomUUID } from "node:crypto";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { DeployCall, Deployment, Spec } from "../driver.ts";
import { isServiceName } from "../labels.ts";
import { type SpawnerClient, servicePath, awaitWork } from "./client.ts";
import { HOST } from "./resolve.ts";
import { deploymentOff, specOnWire } from "./wire.ts";

/** How long an undo is tried: as long as the spawner's own stop takes. */
const UNDO_MS = 30_000;
const RETRY_MS = { first: 250, longest: 2_000 };

/** The spawner continues a deploy without clients, so an abort here is sent to the spawner too. */
export async function deploy(client: SpawnerClient, clock: Clock, log: Log, spec: Spec, call: DeployCall): Promise<Deployment> {
  const { signal } = call;
  const doing = `Starting ${spec.service}`;
  signal.throwIfAborted();
  if (!isServiceName(spec.service))
    throw new Fault("SPEC_REFUSED", `${doing}: ${JSON.stringify(spec.service)} is not a DNS label, which a service's name must be.`);
  // The cancellation uses another connection than the call, and may overtake it.
  const id = randomUUID();
  const path = `/deploy/${spec.host ?? HOST}/${encodeURIComponent(spec.service)}/1?call=${id}`;
  try {
    // The spawner does not report this moment. It limits its own machine's work itself.
    call.onLaunched?.();
    const line = await awaitWork(client, clock, { method: "POST", path, body: specOnWire(spec), signal, doing }, call);
    if ("deployment" in line) return deploymentOff(line.deployment);
    throw new Fault("ENGINE_FAILED", `${doing}: ${client.name} answered with no deployment; is it a berth spawner?`);
  } catch (error) {
    if (signal.aborted)
      await undo(client, clock, spec, id).catch((err: unknown) => log.warn({ service: spec.service, err }, "undo of an aborted start failed"));
    throw error;
  }
}

/** Only this generation: a late call must not end what was deployed since. */
async function undo(client: SpawnerClient, clock: Clock, { service, labels }: Spec, id: string): Promise<void> {
  const doing = `Undoing the start of ${service}`;
  const path = `${servicePath(service)}?generation=${labels.generation}&call=${id}`;
  const overdue = () => new Fault("ENGINE_FAILED", `${doing}: the spawner at ${client.name} did not answer within ${UNDO_MS / 1_000} s.`);
  await withTimeout({ clock, ms: UNDO_MS, overdue }, async (signal) => {
    for (const delays = createBackoff(RETRY_MS.first, RETRY_MS.longest); ;) {
      try {
        return await client.json({ method: "DELETE", path, signal, doing });
      } catch (error) {
        if (signal.aborted || !(error instanceof Fault) || error.code !== "ENGINE_UNREACHABLE") throw error;
        await clock.sleep(delays.next(), signal);
      }
    }
  });
}
