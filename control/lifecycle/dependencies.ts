import type { SessionRef } from "../../gateway/contract.ts";
import { Fault, type FaultData } from "../../lib/fault.ts";
import type { Container } from "../model/entities.ts";
import { isPassing } from "../model/states.ts";
import type { Store } from "../store/open-store.ts";
import type { EntityChange } from "./changes.ts";

/** A container that another one depends on; `container` is undefined where the package has no such folder any more. */
export type Dependency = { folder: string; container: Container | undefined };

type Dependent = Pick<Container, "id" | "state" | "desiredInstances">;
type DependencyRow = Pick<Container, "id" | "packageId" | "folder">;

/** The containers that a container depends on, by the `depends_on` of its container.json, and those that depend on it. */
export type Dependencies = {
  /** In the order of its container.json. While some of them do not run, the next change of each causes another look at this container. */
  of(row: Container): Promise<readonly Dependency[]>;
  /** The ids of those that the system stopped. */
  resting(row: Pick<Container, "packageId" | "config">): Promise<readonly string[]>;
  /** The names of the containers that depend on it, and run or are about to. `except`: ids of those that are about to stop. */
  dependentsOf(row: DependencyRow, except?: ReadonlySet<string>): Promise<readonly string[]>;
  /**
   * True if there are such, or some that still stop: until then they run, and may be used after all. The next change of each causes another look at this
   * container. Call it in the transaction that decides by it.
   */
  awaitDependents(row: DependencyRow): Promise<boolean>;
  /** How long its present start has waited for them, in milliseconds; undefined: it did not. */
  waitedMs(row: Pick<Container, "id" | "requestedOn">): number | undefined;
  changed(change: EntityChange): void;
};

/** The wait of one start, which `requestedOn` identifies. `until`: all of them ran; undefined: not yet. */
type DependencyWait = { requestedOn: number; from: number; until: number | undefined };

type DependenciesOptions = {
  store: Pick<Store, "containers">;
  /** Epoch ms. */
  now(): number;
  /** Other replicas of it serve. */
  isServedByReplicas(id: string): boolean;
  /** Causes another look at a container. */
  lookAt(id: string): void;
};

export function createDependencies({ store, now, isServedByReplicas, lookAt }: DependenciesOptions): Dependencies {
  /** By the container that is to change. It is lost with the process; after its start, each container is looked at. */
  const waiting = new Map<string, Set<string>>();
  const waits = new Map<string, DependencyWait>();
  const watch = (id: string, dependent: string) => waiting.set(id, (waiting.get(id) ?? new Set()).add(dependent));
  const readDependents = async ({ id, packageId, folder }: DependencyRow) => {
    const named = (await store.containers.dependents(packageId)).filter((one) => one.config.dependsOn?.includes(folder));
    return named.filter((one) => one.id !== id);
  };
  const isToRun = ({ id, state, desiredInstances }: Dependent) => desiredInstances === 1 && (state !== "ERROR" || isServedByReplicas(id));
  return {
    of: async ({ id, requestedOn, packageId, config: { dependsOn = [] } }) => {
      if (dependsOn.length === 0) return [];
      const read = async () => {
        const byFolder = new Map((await store.containers.wholeOfFolders(packageId, dependsOn)).map((one) => [one.folder, one]));
        return dependsOn.map((folder): Dependency => ({ folder, container: byFolder.get(folder) }));
      };
      const dependencies = await read();
      const wait = waits.get(id);
      if (dependencies.every(({ container }) => container && isRunning(container))) {
        if (wait) wait.until ??= now();
        return dependencies;
      }
      if (wait?.requestedOn !== requestedOn) waits.set(id, { requestedOn, from: now(), until: undefined });
      else wait.until = undefined;
      for (const { container } of dependencies) if (container) watch(container.id, id);
      // Again: one of them may have changed before it was watched.
      return read();
    },
    resting: async ({ packageId, config: { dependsOn = [] } }) => {
      const all = dependsOn.length === 0 ? [] : await store.containers.wholeOfFolders(packageId, dependsOn);
      return all.flatMap(({ id, desiredInstances, stopFor }) => (desiredInstances === 0 && stopFor === "system" ? [id] : []));
    },
    dependentsOf: async (row, except) => (await readDependents(row)).flatMap((one) => (isToRun(one) && !except?.has(one.id) ? [one.name] : [])),
    awaitDependents: async (row) => {
      const dependents = (await readDependents(row)).filter((one) => isToRun(one) || isPassing(one.state));
      for (const dependent of dependents) watch(dependent.id, row.id);
      return dependents.length > 0;
    },
    waitedMs: ({ id, requestedOn }) => {
      const wait = waits.get(id);
      return wait?.requestedOn === requestedOn && wait.until !== undefined ? wait.until - wait.from : undefined;
    },
    changed: (change) => {
      if ("image" in change) return;
      const id = "removed" in change ? change.removed : change.container.id;
      if ("removed" in change) waits.delete(id);
      // One that is about to change again is looked at then.
      else if (isPassing(change.container.state)) return;
      const dependents = waiting.get(id) ?? [];
      waiting.delete(id);
      for (const dependent of dependents) lookAt(dependent);
    },
  };
}

function isRunning({ state, desiredInstances }: Container): boolean {
  return state === "STARTED" && desiredInstances === 1;
}

/** What the start of a container needs next of those that it depends on. */
export type DependencyStep = { kind: "ready" } | { kind: "wait" } | { kind: "start"; ids: readonly string[] } | { kind: "failed"; fault: FaultData };

/** `row` waits for its start. `now`: epoch ms. */
export function nextDependencyStep(row: Container, dependencies: readonly Dependency[], now: number): DependencyStep {
  const ids: string[] = [];
  let isReady = true;
  for (const { folder, container } of dependencies) {
    if (!container) {
      const sentence = `The container ${row.name} depends on dockerfiles/${folder}, which its package does not have. Correct depends_on in its container.json.`;
      return { kind: "failed", fault: new Fault("DEPENDENCY_FAILED", sentence).toJSON() };
    }
    if (isRunning(container)) continue;
    isReady = false;
    const hasFailed = container.state === "ERROR" && container.desiredInstances === 1;
    if (hasFailed && (container.since >= row.since || container.notBefore > now)) return { kind: "failed", fault: failedDependency(row, container) };
    const isStoppedByUser = container.desiredInstances === 0 && container.stopFor === "user" && container.since >= row.since;
    if (isStoppedByUser) return { kind: "failed", fault: stoppedDependency(row, container) };
    if (hasFailed || container.desiredInstances === 0) ids.push(container.id);
  }
  if (isReady) return { kind: "ready" };
  return ids.length > 0 ? { kind: "start", ids } : { kind: "wait" };
}

function failedDependency({ name }: Container, { name: failed, fault }: Container): FaultData {
  const sentence = `The container ${name} depends on ${failed}, which failed: ${fault?.message ?? "its cause is not known."}`;
  return new Fault("DEPENDENCY_FAILED", sentence, fault?.logs === undefined ? {} : { logs: fault.logs }).toJSON();
}

function stoppedDependency({ name }: Container, { name: stopped }: Container): FaultData {
  return new Fault("DEPENDENCY_FAILED", `The container ${name} depends on ${stopped}, which a user stopped meanwhile.`).toJSON();
}

type StartDependencyDeps = {
  requestStart(id: string, userId: string | undefined, requestedFor: "dependency", ref: SessionRef): Promise<unknown>;
};

/** Starts one that a container depends on, for the same user. One that was removed meanwhile is found to be missing by the next look, which its removal causes. */
export async function startDependency(
  { requestStart }: StartDependencyDeps,
  { requestedBy, requestedKey, requestedSession }: Container,
  id: string,
): Promise<void> {
  const ref = {
    ...(requestedKey === undefined ? {} : { key: requestedKey }),
    ...(requestedSession === undefined ? {} : { session: requestedSession }),
  };
  try {
    await requestStart(id, requestedBy, "dependency", ref);
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== "CONTAINER_NOT_FOUND") throw error;
  }
}

/**
 * Of a container that goes on running without a start: while it seemed to stop, or to have failed, what it depends on may have been stopped for idleness, or for
 * another's place. Call it in the transaction of its move.
 */
export async function startResting(deps: StartDependencyDeps & { dependencies: Pick<Dependencies, "resting"> }, row: Container): Promise<void> {
  for (const id of await deps.dependencies.resting(row)) await startDependency(deps, row, id);
}

/** For users; undefined where it waits for none. */
export function describeDependencies(dependencies: readonly Dependency[]): string | undefined {
  const missing = dependencies.flatMap(({ container }) => (container && !isRunning(container) ? [container.name] : []));
  return missing.length === 0 ? undefined : `It waits for ${missing.join(" and ")}, which it depends on.`;
}
