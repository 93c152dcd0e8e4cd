import { isDeepStrictEqual } from "node:util";
import type { V1Deployment, V1ObjectMeta, V1Pod } from "@kubernetes/client-node";
import { createBackoff } from "../../lib/backoff.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { type Call, type OwnedCall, type Registry, type Spec, STOP_GRACE_SECONDS } from "../driver.ts";
import type { MachinePlatform } from "../image-config.ts";
import { refuseForeignOwner } from "../labels.ts";
import type { KubernetesApi } from "./cluster.ts";
import { definition, NAMES, ownerOf, readLabels, readPort, selectOwnService, selectService } from "./definition.ts";
import { watchPods } from "./events.ts";
import { apply, create, discardAll, find, isOf, type KubernetesObject, listAll, type OwnResource, setOwner } from "./objects.ts";
import { currentPod, type ExistingServices, podStateOf } from "./observe.ts";
import { type DockerAuth, pullWith } from "./pull-secret.ts";
import type { PodPlacement } from "./placement.ts";
import type { PodSecurity } from "./security.ts";

export type KubernetesTools = {
  log: Log;
  registry: Registry | undefined;
  registryHosts: readonly string[];
  auth: DockerAuth;
  placementOf(spec: Spec): PodPlacement;
  /** Of all nodes that pods may run on; undefined if unknown. */
  machine: MachinePlatform | undefined;
  /** For other services a deploy creates first, and looks only if that is refused. */
  existing: ExistingServices;
};

/** How often another process may take the name first. */
const ATTEMPTS = 5;
const NAME_CONFLICT = { kind: "object", where: " in the namespace", todo: "Remove that first." };

type NewObject = { resource: OwnResource; name: string; object: Parameters<typeof create>[2] };
type CreatedObject = Pick<NewObject, "resource"> & { metadata: V1ObjectMeta | undefined };

export type ServiceObjects = {
  adopted: boolean;
  /** Makes the cluster remove the rest of the service with its Deployment. For users who remove that by hand: a start does not wait for it. */
  setOwners(): Promise<void>;
};

/**
 * Creates all objects of a service at once, or adopts them. Removes those of another generation, or of an ended container, first.
 * A pod waits for the Secret of its variables, and a node needs longer to prepare a container than the cluster to store one.
 */
export async function createOrAdopt(
  cluster: KubernetesApi,
  spec: Spec,
  security: PodSecurity,
  tools: KubernetesTools,
  call: Call,
): Promise<ServiceObjects> {
  const { service } = spec;
  const objects = definition(spec, {
    pull: await pullWith(spec.image, tools.auth, tools.registry, call),
    security,
    placement: tools.placementOf(spec),
  });
  const deployment: NewObject = { resource: "deployments", name: NAMES.deployment(service), object: objects.deployment() };
  const pull = objects.pull();
  const port = objects.service();
  const rest: NewObject[] = [
    { resource: "secrets", name: NAMES.variables(service), object: objects.variables() },
    ...(pull ? [{ resource: "secrets", name: NAMES.pull(service), object: pull } as const] : []),
    ...(port ? [{ resource: "services", name: NAMES.service(service), object: port } as const] : []),
  ];

  for (let attempt = 1, look = tools.existing.has(service); ; attempt++, look = true) {
    call.signal.throwIfAborted();
    const holder = look ? await find(cluster, "deployments", service, call.signal) : undefined;
    if (holder) {
      await refuseForeign(cluster, spec, holder.metadata);
      const pods = await listAll(cluster, "pods", selectService(service), call.signal);
      const created = isAdoptable(holder, currentPod(pods.items), spec) ? await complete(cluster, spec, rest) : undefined;
      if (created) return { adopted: true, setOwners: () => setOwners(cluster, holder, created, tools.log) };
      if (attempt === ATTEMPTS) throw new Fault("ENGINE_FAILED", `Replacing ${service}: another process keeps creating it again.`);
      tools.log.info({ service, generation: readLabels(holder.metadata)?.generation }, "replacing deployment");
      await destroy(cluster, service, call.signal);
    }
    const [made, ...others] = await createAll(cluster, spec, deployment, rest);
    const created = made && (await joinDeploy(cluster, spec, rest, others, call.signal));
    if (created) return { adopted: false, setOwners: () => setOwners(cluster, made, created, tools.log) };
    if (attempt === ATTEMPTS) throw new Fault("ENGINE_FAILED", `Creating ${service}: another process keeps creating its objects.`);
    // Another Deployment is looked at in the next round. Beside ours, something remains of an earlier one, which its pod must not use.
    if (!made) continue;
    for (const one of rest) await takeBack(cluster, spec, one, call.signal);
    await destroy(cluster, service, call.signal);
  }
}

/**
 * What was created; undefined for a name that is taken. If anything else fails, nothing is left. A node pulls without the credentials of a Secret that is not there
 * yet, and reports the registry's refusal.
 */
async function createAll(cluster: KubernetesApi, spec: Spec, deployment: NewObject, rest: readonly NewObject[]) {
  const others = rest.map(({ resource, object }) => create(cluster, resource, object));
  const pull = others[rest.findIndex(({ name }) => name === NAMES.pull(spec.service))] ?? Promise.resolve();
  const results = await Promise.allSettled([pull.then(() => create(cluster, deployment.resource, deployment.object)), ...others]);
  const failed = results.find((result) => result.status === "rejected");
  if (failed) {
    await withdraw(cluster, spec);
    throw failed.reason;
  }
  return results.map((result) => (result.status === "fulfilled" ? result.value : undefined));
}

/**
 * The rest of a service beside its new Deployment: what this deploy created and, for a name that is taken, the same object of another deploy that runs at
 * the same time. Undefined if an object differs.
 */
async function joinDeploy(
  cluster: KubernetesApi,
  spec: Spec,
  rest: readonly NewObject[],
  made: readonly (KubernetesObject | undefined)[],
  signal: AbortSignal,
): Promise<CreatedObject[] | undefined> {
  const created: CreatedObject[] = [];
  for (const [index, { resource, name, object }] of rest.entries()) {
    const holder = made[index] ?? (await find(cluster, resource, name, signal));
    if (!made[index] && !isSame(holder, object, spec)) return undefined;
    created.push({ resource, metadata: holder?.metadata });
  }
  return created;
}

/** Of the same definition of the same container, and with the same content; what a Service has follows from the definition. */
function isSame(holder: (KubernetesObject & { data?: object }) | undefined, object: KubernetesObject & { data?: object }, spec: Spec): boolean {
  const { store, container, generation } = readLabels(holder?.metadata) ?? {};
  const isOwn = store === spec.labels.store && container === spec.labels.container && generation === spec.labels.generation;
  return isOwn && isOf(holder?.metadata, spec.service) && isDeepStrictEqual({ ...holder?.data }, { ...object.data });
}

/** What remains of an earlier one must be berth's, and bear the labels by which it is removed. Faults: SPEC_REFUSED. */
async function takeBack(cluster: KubernetesApi, spec: Spec, { resource, name, object }: NewObject, signal: AbortSignal): Promise<void> {
  const holder = await find(cluster, resource, name, signal);
  await refuseForeign(cluster, spec, holder?.metadata);
  if (!holder || isOf(holder.metadata, spec.service)) return;
  try {
    await apply(cluster, resource, object);
  } catch (error) {
    await withdraw(cluster, spec);
    throw error;
  }
}

/** Of an object that berth did not create, or that belongs to another store: what was created beside it goes. Faults: SPEC_REFUSED. */
async function refuseForeign(cluster: KubernetesApi, spec: Spec, meta: V1ObjectMeta | undefined): Promise<void> {
  if (!meta) return;
  try {
    refuseForeignOwner(readLabels(meta), spec, NAME_CONFLICT);
  } catch (error) {
    await withdraw(cluster, spec);
    throw error;
  }
}

/** Removes what this container has of a service, and nothing of others. */
async function withdraw(cluster: KubernetesApi, { service, labels }: Spec): Promise<void> {
  await removeService(cluster, service, selectOwnService(service, labels), undefined).catch(() => {});
}

/** Of an adopted service, a user may have removed an object, and berth may have died before it had created all. Undefined if one is of another generation. */
async function complete(cluster: KubernetesApi, spec: Spec, objects: readonly NewObject[]): Promise<CreatedObject[] | undefined> {
  const created: CreatedObject[] = [];
  for (const { resource, name, object } of objects) {
    const holder = await find(cluster, resource, name, undefined);
    if (holder && readLabels(holder.metadata)?.generation !== spec.labels.generation) {
      refuseForeignOwner(readLabels(holder.metadata), spec, NAME_CONFLICT);
      return undefined;
    }
    const now = holder ?? (await create(cluster, resource, object));
    if (now && !now.metadata?.ownerReferences) created.push({ resource, metadata: now.metadata });
  }
  return created;
}

/** A failure is logged only: the service runs, and its removal by berth does not depend on owners. */
async function setOwners(cluster: KubernetesApi, deployment: KubernetesObject, objects: readonly CreatedObject[], log: Log): Promise<void> {
  const owner = ownerOf(deployment);
  const results = await Promise.allSettled(objects.map(({ resource, metadata }) => setOwner(cluster, resource, metadata, owner)));
  const failed = results.find((result) => result.status === "rejected");
  if (failed) log.debug({ service: owner.name, err: failed.reason as unknown }, "owner of a service's objects not set");
}

/** The same definition, starting or running. */
function isAdoptable({ metadata, spec: current }: V1Deployment, pod: V1Pod | undefined, spec: Spec): boolean {
  if (metadata?.deletionTimestamp || current?.replicas !== 1) return false;
  if (readLabels(metadata)?.generation !== spec.labels.generation || readPort(metadata) !== spec.port) return false;
  const state = pod && podStateOf(pod).is;
  return state !== "ended" && state !== "failing";
}

/** After the grace time of the pod, its node needs a moment to report the end. A node that is down never does. */
const GONE_MS = 50_000;
const POLL_MS = { first: 25, longest: 1_000 };

/**
 * Removes all objects of a service and returns when its pods are gone. Without a signal it cannot be aborted: it cleans up after a failure. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED, ENGINE_ACTION_DENIED,
 * SPEC_REFUSED for the Deployment of another owner.
 */
export async function destroy(cluster: KubernetesApi, service: string, signal?: AbortSignal, owner?: OwnedCall["owner"]): Promise<void> {
  if (owner === undefined) return removeService(cluster, service, selectService(service), signal);
  const holder = await find(cluster, "deployments", service, signal);
  if (isOf(holder?.metadata, service)) refuseForeignOwner(readLabels(holder?.metadata), { service, labels: owner }, { where: " in the namespace" });
  await removeService(cluster, service, selectOwnService(service, owner), signal);
}

async function removeService(cluster: KubernetesApi, service: string, selector: string, signal: AbortSignal | undefined): Promise<void> {
  const { clock } = cluster;
  await discardService(cluster, selector, signal);
  let remaining = "its objects are not listed yet";
  let grace = STOP_GRACE_SECONDS;
  const report = (now: string, pod?: V1Pod) => {
    remaining = now;
    grace = Math.max(grace, pod?.spec?.terminationGracePeriodSeconds ?? 0);
  };
  const overdue = () => new Fault("ENGINE_FAILED", `Removing ${service}: after ${(grace * 1_000 + GONE_MS) / 1_000} s ${remaining}. berth retries.`);
  const ended = new AbortController();
  // Only the pods that are left tell how long they have.
  const beforeAbort = () => clock.sleep((grace - STOP_GRACE_SECONDS) * 1_000, ended.signal).catch(() => undefined);
  try {
    await withTimeout({ clock, ms: STOP_GRACE_SECONDS * 1_000 + GONE_MS, overdue, beforeAbort, signal }, (own) =>
      waitUntilGone(cluster, service, selector, report, own),
    );
  } finally {
    ended.abort();
  }
}

/**
 * Each owner before what it owns, so that nothing is created again. Nothing is left to the garbage collector, which acts up to a minute late after an
 * outage of the API server.
 */
async function discardService(cluster: KubernetesApi, selector: string, signal: AbortSignal | undefined): Promise<void> {
  const inTurn = async () => {
    for (const resource of ["deployments", "replicasets", "pods"] as const) await discardAll(cluster, resource, selector, signal);
  };
  await Promise.all([inTurn(), discardAll(cluster, "services", selector, signal), discardAll(cluster, "secrets", selector, signal)]);
}

async function waitUntilGone(
  cluster: KubernetesApi,
  service: string,
  selector: string,
  report: (remaining: string, pod?: V1Pod) => void,
  signal: AbortSignal,
): Promise<void> {
  const onFailure = (error: unknown) => {
    if (error instanceof Fault && error.code === "ENGINE_ACTION_DENIED") throw error;
  };
  const late = new Set<string | undefined>();
  for await (const { pods } of watchPods(cluster, selector, signal, onFailure)) {
    const [pod] = pods.values();
    if (pod === undefined) break;
    report(describeRemaining(pod), pod);
    // A controller that had not noticed the removal has created it since.
    const added = [...pods.values()].find(({ metadata }) => !metadata?.deletionTimestamp && !late.has(metadata?.uid));
    if (added) {
      late.add(added.metadata?.uid);
      for (const resource of ["replicasets", "pods"] as const) await discardAll(cluster, resource, selector, signal);
    }
  }
  // A finalizer of another program may keep the Deployment.
  const delays = createBackoff(POLL_MS.first, POLL_MS.longest);
  for (let remains = true; remains;) {
    const deployment = await find(cluster, "deployments", service, signal);
    // Without a deletion timestamp it is a new one.
    remains = deployment !== undefined && isOf(deployment.metadata, service) && deployment.metadata?.deletionTimestamp !== undefined;
    if (!remains) return;
    report(`its Deployment still has the finalizers ${deployment?.metadata?.finalizers?.join(", ")}`);
    await cluster.clock.sleep(delays.next(), signal);
  }
}

function describeRemaining({ metadata, spec }: V1Pod): string {
  const node = spec?.nodeName === undefined ? "" : ` on the node ${spec.nodeName}`;
  return metadata?.deletionTimestamp
    ? `its pod ${metadata.name}${node}, deleted at ${String(metadata.deletionTimestamp)}, has not ended: check whether that node is down`
    : `its pod ${metadata?.name}${node} is not marked for deletion: check the controller manager`;
}
