import type Docker from "dockerode";
import type { ContainerCreateOptions, ContainerInspectInfo } from "dockerode";
import type { Log } from "../../lib/log.ts";
import { advisedFault } from "../faults.ts";
import type { Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { parseLabels, foreignOwnerOf } from "../labels.ts";
import { definition, type Endpoint, type DockerSite } from "./definition.ts";
import { halt, remove } from "./destroy.ts";
import { findContainer } from "./inspect.ts";
import { observeOne, type DockerView } from "./observe.ts";
import { thaw } from "./pause.ts";

/** The engine gives a name away before it shows the container that got it, and keeps it for a moment after removing one. */
const PAUSE_MS = 50;
/** Two seconds: longer, and somebody else keeps taking the name. */
const ATTEMPTS = 40;

export type CreatedContainer = { id: string; adopted: boolean };

/** Creates the service's container, or finds the one that is as good; its holder of any other generation goes first. */
export async function createOrAdopt(
  engine: Engine,
  view: DockerView,
  spec: Spec,
  site: DockerSite,
  endpoint: Endpoint,
  log: Log,
  signal: AbortSignal,
): Promise<CreatedContainer> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return { id: await create(engine, spec, site, endpoint, log), adopted: false };
    } catch (error) {
      if (!answered(error, 409) || attempt === ATTEMPTS) throw error;
    }
    if (attempt > 1) await engine.clock.sleep(PAUSE_MS, signal);
    const holder = await findContainer(engine, spec.service, signal);
    if (!holder) continue;
    refuseForeignOwner(holder, spec);
    const goesOn = asGood(holder, spec, view) && (!holder.State.Paused || (await thaw(engine, holder.Id, spec.service)));
    if (goesOn) return { id: holder.Id, adopted: true };
    log.info(
      { service: spec.service, generation: parseLabels(holder.Config.Labels)?.generation, state: holder.State.Status },
      "Replacing the service's container.",
    );
    if (holder.State.Running) await halt(engine, holder.Id, spec.service, signal);
    await remove(engine, holder.Id, signal);
  }
}

/** The same definition, and running, or made by someone who did not get to start it; or paused, and just what would be made now. */
function asGood(holder: ContainerInspectInfo, spec: Spec, view: DockerView): boolean {
  const { Paused: paused } = holder.State;
  if (paused && !isJustSo(holder, spec)) return false;
  const observed = observeOne(view, paused ? { ...holder, State: { ...holder.State, Paused: false } } : holder);
  if (observed?.labels.generation !== spec.labels.generation) return false;
  // A change of `reach` needs another container: one that publishes no port cannot be reached by one.
  return observed.running ? (observed.address !== undefined) === (spec.port !== undefined) : holder.State.Status === "created";
}

/** A tag that moved on while it slept, a credential that changed, or another user whose session it is to have: then it is made anew, as after a stop. */
function isJustSo({ Config }: ContainerInspectInfo, { image, env }: Spec): boolean {
  const has = new Set(Config.Env);
  return Config.Image === image && Object.entries(env).every(([name, value]) => has.has(`${name}=${value}`));
}

function refuseForeignOwner(holder: ContainerInspectInfo, spec: Spec): void {
  const owner = foreignOwnerOf(parseLabels(holder.Config.Labels), spec.labels, "a container that berth did not make");
  if (owner !== undefined) throw advisedFault("SPEC_REFUSED", `The name ${spec.service} is taken on the engine by ${owner}`);
}

/** Not cut off by a signal: an engine that no longer hears us may still create it. It takes milliseconds, or its time-out. */
async function create(engine: Engine, spec: Spec, site: DockerSite, endpoint: Endpoint, log: Log): Promise<string> {
  // Of several first ones at once each asked with it, and each is to ask again without.
  const limited = site.storageLimit;
  const asked = { doing: `Creating ${spec.service}`, reading: "start" as const };
  try {
    return await engine.call(asked, (docker) => post(docker, spec.service, definition(spec, site, endpoint), log));
  } catch (error) {
    if (!limited || !/storage-opt|StorageOpt|quota/i.test(String(error))) throw error;
    // Only some storage drivers can (overlay2 on xfs with pquota). Said once: it is so for every container.
    const said = !site.storageLimit;
    site.storageLimit = false;
    if (!said)
      log.warn({ service: spec.service, err: error }, "This engine cannot limit a container's disk: `storage` of container.json is not honoured.");
    return engine.call(asked, (docker) => post(docker, spec.service, definition(spec, site, endpoint), log));
  }
}

/**
 * By the client's own dial. Its `createContainer` would keep to itself what the engine warns of, such as a limit that its kernel cannot keep; and it
 * would put the whole definition, with all its variables, into the URL too, were name and body not told apart.
 */
async function post(docker: Docker, name: string, body: ContainerCreateOptions, log: Log): Promise<string> {
  const made = await new Promise<{ Id: string; Warnings?: string[] | null }>((resolve, reject) => {
    docker.modem.dial(
      {
        path: "/containers/create?",
        method: "POST",
        options: { _query: { name }, _body: body },
        statusCodes: { 201: true, 400: "bad parameter", 404: "no such container", 409: "conflict", 500: "server error" },
      },
      (error: unknown, data: unknown) => (error ? reject(error) : resolve(data as { Id: string })),
    );
  });
  for (const warning of made.Warnings ?? [])
    log.warn({ service: name, warning }, "The engine does not do all that the container's settings ask for.");
  return made.Id;
}
