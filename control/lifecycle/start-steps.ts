import type { Address, Listeners, Spec } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Wake } from "../model/records.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";
import { type DeployTimes, isPulling, phasesSoFar } from "./start-progress.ts";

/** What is known of a start before its container runs. */
type StartPlan = {
  /** Where it must listen. */
  expected: readonly ExpectedPort[];
  /** How long earlier starts took, in milliseconds, the newest first. */
  earlierMs: readonly number[];
};

/** What a deploy in progress does. Times are epoch ms. */
export type StartStep = Partial<StartPlan> &
  DeployTimes & {
    /** What the driver was given, once that is prepared. */
    spec?: Pick<Spec, "port" | "graceMs" | "readiness">;
    /** Where its processes listen, as of the last look. */
    finding?: ListenerFinding;
    /** The status of its last response to a health request that failed. */
    healthStatus?: number;
    /** Its name, which could not be resolved at the last attempt. */
    unresolved?: { host: string; code: string } | undefined;
  };

/** The deploys in progress, by container. Entries live as long as the deploy. */
export type StartSteps = {
  begin(id: string): StartStepWriter;
  of(id: string): StartStep | undefined;
  /** What prevents connections to a container that starts, if it has been starting for a while. */
  noteOf(id: string): string | undefined;
  /** The phases so far, in ms, of the deploy in progress, or of the last one until it is taken by `takePhases`. */
  phasesOf(id: string): Partial<DriverTimes> | undefined;
  takePhases(id: string): Partial<DriverTimes> | undefined;
};

/** Ends of deploys whose phases were not taken yet; with more, the oldest is removed. */
const MOST_ENDED = 1_000;
/** Gateways receive the progress of a pull so often, and phases only of starts that take longer. */
const PROGRESS_MS = 1_000;

type StartStepWriter = {
  prepared(spec: Spec, plan: StartPlan): void;
  pulled(progress: { done: number; total: number }): void;
  launched(): void;
  found(finding: ListenerFinding): void;
  answered(healthStatus: number): void;
  lookedUp(host: string, code: string | undefined): void;
  end(): void;
};

/** `noted` is called when what `noteOf` returns has changed. */
export function createStartSteps({ now, noted }: Pick<Clock, "now"> & { noted(id: string): void }): StartSteps {
  const steps = new Map<string, StartStep>();
  const ended = new Map<string, Partial<DriverTimes>>();
  const phasesOf = (id: string) => {
    const step = steps.get(id);
    return step ? phasesSoFar(step, now()) : ended.get(id);
  };
  const noteOf = (id: string) => {
    const step = steps.get(id);
    return step && describeFinding(step);
  };
  return {
    of: (id) => steps.get(id),
    noteOf,
    phasesOf,
    takePhases: (id) => {
      const phases = phasesOf(id);
      ended.delete(id);
      return phases;
    },
    begin: (id) => {
      const step: StartStep = { since: now() };
      steps.set(id, step);
      ended.delete(id);
      let reportedOn = step.since;
      return {
        prepared: (spec, plan) => void Object.assign(step, { spec, ...plan }),
        pulled: (progress) => {
          step.pull = { since: step.pull?.since ?? now(), at: now(), ...progress };
          if (now() - reportedOn < PROGRESS_MS) return;
          reportedOn = now();
          noted(id);
        },
        launched: () => {
          step.launchedOn ??= now();
          // Most starts end before a user could read it.
          if (now() - step.since >= PROGRESS_MS) noted(id);
        },
        found: (finding) => {
          const before = noteOf(id);
          step.finding = finding;
          if (noteOf(id) !== before) noted(id);
        },
        answered: (healthStatus) => void (step.healthStatus = healthStatus),
        lookedUp: (host, code) => void (step.unresolved = code === undefined ? undefined : { host, code }),
        end: () => {
          if (steps.get(id) !== step) return;
          ended.set(id, phasesSoFar(step, now()));
          steps.delete(id);
          const [oldest] = ended.size > MOST_ENDED ? ended.keys() : [];
          if (oldest !== undefined) ended.delete(oldest);
        },
      };
    },
  };
}

/** Of a start that takes longer, a reader wants to know why, and how long it may still take. */
export const SLOW_START_MS = 10_000;

/** What a start in progress does, and since when, in sentences. `now` is epoch ms. */
export function describeStep(step: StartStep, now: number): string {
  const { since, pull, launchedOn } = step;
  const seconds = (from: number) => `${Math.max(0, Math.round((now - from) / 1_000))} s`;
  if (pull && isPulling(step, now)) {
    const megabytes = (bytes: number) => Math.round(bytes / 1_000_000);
    const size = pull.total > 0 ? `: ${megabytes(pull.done)} of ${megabytes(pull.total)} MB` : "";
    return `Its image has been pulling for ${seconds(pull.since)}${size}.`;
  }
  if (launchedOn === undefined) return `The container engine has been creating it for ${seconds(since)}.`;
  const from = Math.max(launchedOn, pull?.at ?? 0);
  const earlier = now - from > SLOW_START_MS ? describeEarlier(step) : undefined;
  const sentences = [`It has been starting for ${seconds(from)}, ${describeWait(step)}.`, describeFinding(step), earlier];
  return sentences.filter((sentence) => sentence !== undefined).join(" ");
}

/** Why a start was not ready in time, and what to do, in sentences; `limitMs` is its limit, `now` is epoch ms. */
export function describeTimeout(step: StartStep, limitMs: number, now: number): string {
  const limit = `was not ready within ${Math.round(limitMs / 1_000)} s`;
  const { launchedOn, finding } = step;
  const ranMs = launchedOn === undefined || isPulling(step, now) ? 0 : now - Math.max(launchedOn, step.pull?.at ?? 0);
  // Most of the time passed before it ran: then that matters more.
  if (ranMs < limitMs / 2) return `${limit}. ${describeStep(step, now)}`;
  const isNowhere = finding !== undefined && finding !== "unknown" && finding.sockets.length === 0;
  const advice = isNowhere ? "If it only needs longer, raise containerStatusTimeoutMinutes." : undefined;
  const sentences = [`${limit}: ${describeWait(step).replace(/^and /, "")}.`, describeFinding(step), advice];
  return sentences.filter((sentence) => sentence !== undefined).join(" ");
}

/** What it has not shown yet. */
function describeWait({ spec, finding, healthStatus, unresolved }: StartStep): string {
  if (spec?.port === undefined) return `and counts as started after ${Math.round((spec?.graceMs ?? 0) / 1_000)} s`;
  const { port, readiness } = spec;
  // A plain process listens on another port than its spec names.
  const own = (finding !== "unknown" && finding?.portVariable) || port;
  if (readiness.kind === "http") {
    const request = `and GET ${readiness.path} on port ${readiness.port === undefined || readiness.port === port ? own : readiness.port}`;
    return healthStatus === undefined
      ? `${request} has not answered with 2xx or 3xx`
      : `${request} answers with ${healthStatus}, not with 2xx or 3xx`;
  }
  if (readiness.kind === "healthcheck") return "and its HEALTHCHECK has not succeeded";
  if (readiness.kind === "running") return `and counts as started after ${Math.round(spec.graceMs / 1_000)} s`;
  if (unresolved) return `and its name ${unresolved.host} cannot be resolved (${unresolved.code}): check the DNS of berth's machine`;
  return `and nothing accepts connections on port ${own}`;
}

/** What prevents connections to it; undefined if that is not known, or if nothing does. */
function describeFinding({ expected, finding }: StartStep): string | undefined {
  return expected && finding && describeListeners(expected, finding);
}

/** So many of them show how much they differ. */
const MOST_EARLIER = 3;

/** How long earlier starts took without their pulls, in milliseconds. `wakes`: the newest first. */
export function earlierStarts(wakes: readonly Pick<Wake, "phases">[]): number[] {
  return wakes.flatMap(({ phases }) => (phases ? [phases.create + phases.boot] : [])).slice(0, MOST_EARLIER);
}

function describeEarlier({ earlierMs = [] }: StartStep): string | undefined {
  if (earlierMs.length === 0) return undefined;
  const seconds = (ms: number) => Math.max(1, Math.round(ms / 1_000));
  const [least, most] = [seconds(Math.min(...earlierMs)), seconds(Math.max(...earlierMs))];
  if (earlierMs.length === 1) return `Its last start took ${most} s.`;
  return `Its last ${earlierMs.length} starts took ${least === most ? most : `${least} to ${most}`} s.`;
}

/** A port on which a container must listen, and what says so. */
export type ExpectedPort = { port: number; source: string };

/** What is known of where a container's processes listen; "unknown": its orchestrator does not say. */
export type ListenerFinding = Listeners | "unknown";

type PortFacts = { port: number | undefined; exposed: readonly number[] | undefined };

/** The ports of a start, the one that requests are sent to first. `port` is that of container.json, else the first of the Dockerfile's EXPOSE. */
export function expectedPorts({ port, readiness }: Pick<Spec, "port" | "readiness">, own: PortFacts): ExpectedPort[] {
  const health = readiness.kind === "http" ? readiness.port : undefined;
  const expected: ExpectedPort[] = [];
  if (port !== undefined) expected.push({ port, source: sourceOf(own) });
  if (health !== undefined && health !== port) expected.push({ port: health, source: HEALTH });
  return expected;
}

const HEALTH = "`health` in container.json";

function sourceOf({ port, exposed = [] }: PortFacts): string {
  if (port !== undefined && !exposed.includes(port)) return "`port` in container.json";
  if (exposed.length === 0) return HEALTH;
  return exposed.length === 1 ? "EXPOSE" : "the first EXPOSE, or `port` in container.json,";
}

const NOWHERE = "No process of it listens on a port.";

/** Names so many sockets of a program that listens on more. */
const MOST_NAMED = 3;

/** What prevents connections to a container that runs, for its author; undefined if it listens as expected, or if nothing is expected. */
export function describeListeners(expected: readonly ExpectedPort[], finding: ListenerFinding): string | undefined {
  const [first, ...more] = expected;
  if (first === undefined) return undefined;
  if (finding === "unknown") return `berth connects to port ${first.port}, as ${first.source} says.`;
  const { sockets, portVariable } = finding;
  if (sockets.length === 0) return NOWHERE;
  // A plain process is reached on loopback, at the port that it was given.
  const reach = portVariable === undefined ? isNotLoopback : isIPv4;
  const main = portVariable === undefined ? first : { port: portVariable, source: "the variable PORT" };
  for (const { port, source } of [main, ...more]) {
    const there = sockets.filter((socket) => socket.port === port);
    if (there.some(reach)) continue;
    if (there.length > 0) return `The process listens on ${nameAll(there.map(formatSocket))}; listen on 0.0.0.0.`;
    const reached = sockets.filter(reach);
    const todo = port === portVariable ? "listen on that port" : "change one of them";
    if (reached.length > 0) return `The process listens on ${namePorts(reached)}, but ${source} says ${port}: ${todo}.`;
    return `The process listens on ${nameAll(sockets.map(formatSocket))}, but ${source} says ${port}; listen on 0.0.0.0:${port}.`;
  }
  return undefined;
}

/** `::` is every address, IPv4 too. */
function isNotLoopback({ host }: Address): boolean {
  return host !== "::1" && !host.startsWith("127.");
}

/** `::` takes IPv4 connections. */
function isIPv4({ host }: Address): boolean {
  return host === "::" || !host.includes(":");
}

function formatSocket({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function namePorts(sockets: readonly Address[]): string {
  const ports = [...new Set(sockets.map(({ port }) => String(port)))];
  return `${ports.length === 1 ? "port" : "ports"} ${nameAll(ports)}`;
}

function nameAll(words: readonly string[]): string {
  if (words.length > MOST_NAMED) return `${words.slice(0, MOST_NAMED).join(", ")} and ${words.length - MOST_NAMED} more`;
  return words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : (words[0] ?? "");
}
