import { createBackoff } from "../../lib/backoff.ts";
import type { Call, DriverEvent } from "../driver.ts";
import { allServices, liveTasks, ofService, runs, taskId } from "./observe.ts";
import type { EcsSite } from "./site.ts";
import { readTags } from "./labels.ts";

/**
 * ECS sends no events without a queue of EventBridge's, so all is polled, less often the longer nothing changes. An instance is a task, by its id;
 * its end is seen at the next look only. Ends when the signal aborts.
 */
export async function* events(site: EcsSite, { signal }: Call): AsyncGenerator<DriverEvent> {
  const { first, longest } = site.looks.events;
  const delays = createBackoff(first, longest);
  let before: Map<string, Fact> | undefined;
  // Its loss and its return are told once each, however often it is tried in between.
  let lost = false;
  while (!signal.aborted) {
    try {
      const now = await facts(site, signal);
      const changed = before ? differing(before, now) : [];
      if (lost) site.log.info({}, "ECS answers again.");
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
      site.log[lost ? "debug" : "warn"](
        { reason: error instanceof Error ? error.message : String(error) },
        "ECS could not be looked at; looking again.",
      );
      lost = true;
    }
    await site.clock.sleep(delays.next(), signal).catch(() => {});
  }
}

type Fact = { service: string; container: string; fact: string; running: readonly string[] };

/** What changes what `inspect` would say: the service's state and its live tasks. */
async function facts({ aws }: EcsSite, signal: AbortSignal): Promise<Map<string, Fact>> {
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
      return [name, { service: name, container, fact: [service.status, ...rollouts, ...tasks].join(), running: own.filter(runs).map(taskId) }];
    }),
  );
}

/** `ended`: the tasks that ran and do no more. */
function differing(before: Map<string, Fact>, now: Map<string, Fact>): (Fact & { ended: string[] })[] {
  return [...new Set([...before.keys(), ...now.keys()])].flatMap((service) => {
    const [old, one] = [before.get(service), now.get(service)];
    const known = one ?? old;
    if (known === undefined || old?.fact === one?.fact) return [];
    return [{ ...known, ended: (old?.running ?? []).filter((id) => one?.running.includes(id) !== true) }];
  });
}
