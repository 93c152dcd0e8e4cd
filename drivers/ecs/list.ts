import type { Task } from "@aws-sdk/client-ecs";
import type { Call, Observed } from "../driver.ts";
import { isServiceName } from "../service-name.ts";
import { allServices, findService, liveTasks, ofService, tasksOf } from "./describe.ts";
import { observe, runs } from "./observe.ts";
import type { EcsSite } from "./site.ts";
import { readTags } from "./labels.ts";

/** A service that only has the name, but is not ours, does not exist for berth. */
export async function inspect(site: EcsSite, service: string, { signal }: Call): Promise<Observed | undefined> {
  signal.throwIfAborted();
  if (!isServiceName(service)) return undefined;
  const found = await findService(site.aws, service, signal);
  if (!found || !readTags(found.tags)) return undefined;
  return observe(found, await tasksOf(site.aws, found, signal), site.reach);
}

export async function list(site: EcsSite, { signal }: Call): Promise<Observed[]> {
  const services = (await allServices(site.aws, signal)).filter(({ tags }) => readTags(tags));
  const live = services.length === 0 ? [] : await liveTasks(site.aws, signal);
  const observed: Observed[] = [];
  for (const service of services) {
    let tasks: Task[] = ofService(service, live);
    // Why one ended is asked of the few that do not run.
    if (!tasks.some(runs)) tasks = await tasksOf(site.aws, service, signal);
    const one = observe(service, tasks, site.reach);
    if (one) observed.push(one);
  }
  return observed;
}
