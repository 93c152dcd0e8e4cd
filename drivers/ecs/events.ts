import { createBackoff } from "../../lib/backoff.ts";
import type { Call, DriverEvent } from "../driver.ts";
import { reasonOf } from "../events.ts";
import { readTags } from "./definition.ts";
import { allServices, liveTasks, ofService, runs, taskId } from "./observe.ts";
import type { EcsSite } from "./site.ts";

/**
 * ECS sends no events without a queue of EventBridge, so this polls, less often the longer nothing changes. An instance is a task, by its id; its end is
 * visible at the next poll.
 */
export async function* events(site: EcsSite, { signal }: Call): AsyncGenerator<DriverEvent> {
  const { first, longest } = site.polling.events;
  const delays = createBackoff(first, longest);
  let before: Map<string, ServiceState> | undefined;
  // Each loss and each return is logged once, whatever the number of attempts.
  let lost = false;
  while (!signal.aborted) {
    try {
      const now = await readStates(site, signal);
      const changed = before ? changesOf(before, now) : [];
      if (lost) site.log.info({}, "ECS reachable again");
      if (lost || !before) yield { kind: "connected" };
      lost = false;
      before = now;
      if (changed.length > 0) delays.reset();
      for (const { service, container, ended } of changed) {
        for (const instance of ended) yield { kind: "changed", service, container, ended: { instance } };
        if (ended.length === 0) yield { kind: "changed", service, container };
      }
    } catch (error) {
      if (signal.aborted) return;
      site.log[lost ? "debug" : "warn"]({ reason: reasonOf(error) }, "ECS unreachable, polling again");
      lost = true;
    }
    await site.clock.sleep(delays.next(), signal).catch(() => {});
  }
}

/** `digest` changes whenever the result of `inspect` may change. `running` has the ids of running tasks. */
type ServiceState = { service: string; container: string; digest: string; running: readonly string[] };

async function readStates({ aws }: EcsSite, signal: AbortSignal): Promise<Map<string, ServiceState>> {
  const services = await allServices(aws, signal);
  const ours = services.flatMap((service) => {
    const labels = readTags(service.tags)?.labels;
    return labels ? [{ service, container: labels.container }] : [];
  });
  const live = ours.length === 0 ? [] : await liveTasks(aws, signal);
  return new Map(
    ours.map(({ service, container }) => {
      const name = service.serviceName ?? "";
      const rollouts = (service.deployments ?? []).map(({ id, rolloutState }) => `${id} ${rolloutState}`);
      const own = ofService(service, live);
      const tasks = own.map((task) => `${taskId(task)} ${task.lastStatus}`);
      return [name, { service: name, container, digest: [service.status, ...rollouts, ...tasks].join(), running: own.filter(runs).map(taskId) }];
    }),
  );
}

/** `ended`: the tasks that no longer run. */
function changesOf(before: Map<string, ServiceState>, now: Map<string, ServiceState>): (ServiceState & { ended: string[] })[] {
  return [...new Set([...before.keys(), ...now.keys()])].flatMap((service) => {
    const [old, one] = [before.get(service), now.get(service)];
    const latest = one ?? old;
    if (latest === undefined || old?.digest === one?.digest) return [];
    return [{ ...latest, ended: (old?.running ?? []).filter((id) => one?.running.includes(id) !== true) }];
  });
}
