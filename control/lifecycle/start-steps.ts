import type { Address, Listeners, Spec } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Wake } from "../model/records.ts";
import type { ContainerEngine } from "./engine.ts";

/** What is known of a start before its container runs. */
type StartPlan = {
  /** Where it must listen. */
  expected: readonly ExpectedPort[];
  /** How long earlier starts took, in milliseconds, the newest first. */
  earlierMs: readonly number[];
};

/** What a deploy in progress does. Times are epoch ms. */
export type StartStep = Partial<StartPlan> & {
  since: number;
  /** What the driver was given, once that is prepared. */
  spec?: Pick<Spec, "port" | "graceMs" | "readiness">;
  /** The last progress of the pull; bytes. */
  pull?: { since: number; at: number; done: number; total: number };
  /** The orchestrator has done its part: the container runs, or is about to. */
  launchedOn?: number;
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
};

type StartStepWriter = {
  prepared(spec: Spec, plan: StartPlan): void;
  pulled(progress: { done: number; total: number }): void;
  launched(): void;
  found(finding: ListenerFinding): void;
  answered(healthStatus: number): void;
  lookedUp(host: string, code: string | undefined): void;
  end(): void;
};

/** The start whose container is watched. */
type WatchedStart = { of(): StartStep | undefined; found(finding: ListenerFinding): void };

/** Reads where the container of a slow start listens. */
export type WatchListeners = (
  service: string,
  start: WatchedStart,
) => {
  /** Its container has been launched. */
  begin(): void;
  /** Reads once more, at the end of a start that fails. Never rejects. */
  read(): Promise<void>;
  end(): void;
};

/** `noted` is called when what `noteOf` returns has changed. */
export function createStartSteps({ now, noted }: Pick<Clock, "now"> & { noted(id: string): void }): StartSteps {
  const steps = new Map<string, StartStep>();
  const noteOf = (id: string) => {
    const step = steps.get(id);
    return step && describeFinding(step);
  };
  return {
    of: (id) => steps.get(id),
    noteOf,
    begin: (id) => {
      const step: StartStep = { since: now() };
      steps.set(id, step);
      return {
        prepared: (spec, plan) => void Object.assign(step, { spec, ...plan }),
        pulled: (progress) => void (step.pull = { since: step.pull?.since ?? now(), at: now(), ...progress }),
        launched: () => void (step.launchedOn ??= now()),
        found: (finding) => {
          const before = noteOf(id);
          step.finding = finding;
          if (noteOf(id) !== before) noted(id);
        },
        answered: (healthStatus) => void (step.healthStatus = healthStatus),
        lookedUp: (host, code) => void (step.unresolved = code === undefined ? undefined : { host, code }),
        end: () => void (steps.get(id) === step && steps.delete(id)),
      };
    },
  };
}

/** A driver reports the progress of a pull at least every few seconds: without a report for so long, the pull has ended. */
const PULL_SILENCE_MS = 10_000;

/** Of a start that takes longer, a reader wants to know why, and how long it may still take. */
const SLOW_START_MS = 10_000;

/** What a start in progress does, and since when, in sentences. `now` is epoch ms. */
export function describeStep(step: StartStep, now: number): string {
  const { since, pull, launchedOn } = step;
  const seconds = (from: number) => `${Math.max(0, Math.round((now - from) / 1_000))} s`;
  if (pull && now - pull.at < PULL_SILENCE_MS) {
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

/** The ports of a start, the one that requests are sent to first. `port` is that of container.json. */
export function expectedPorts({ port, readiness }: Pick<Spec, "port" | "readiness">, own: PortFacts): ExpectedPort[] {
  const health = readiness.kind === "http" ? readiness.port : undefined;
  const expected: ExpectedPort[] = [];
  if (port !== undefined) expected.push({ port, source: sourceOf(own) });
  if (health !== undefined && health !== port) expected.push({ port: health, source: HEALTH });
  return expected;
}

const HEALTH = "`health` in container.json";

function sourceOf({ port, exposed }: PortFacts): string {
  if (port !== undefined) return "`port` in container.json";
  return exposed?.length ? "EXPOSE" : HEALTH;
}

/** Names so many sockets of a program that listens on more. */
const MOST_NAMED = 3;

/** What prevents connections to a container that runs, for its author; undefined if it listens as expected, or if nothing is expected. */
export function describeListeners(expected: readonly ExpectedPort[], finding: ListenerFinding): string | undefined {
  const [first, ...more] = expected;
  if (first === undefined) return undefined;
  if (finding === "unknown") return `berth connects to port ${first.port}, as ${first.source} says.`;
  const { sockets, portVariable } = finding;
  if (sockets.length === 0) return "No process of it listens on a port.";
  // A plain process is reached on loopback, at the port that it was given.
  const reach = portVariable === undefined ? isNotLoopback : isIPv4;
  const main = portVariable === undefined ? first : { port: portVariable, source: "the variable PORT" };
  for (const { port, source } of [main, ...more]) {
    const there = sockets.filter((socket) => socket.port === port);
    if (there.some(reach)) continue;
    if (there.length > 0) return `The process listens on ${nameAll(there.map(formatSocket))}; listen on 0.0.0.0.`;
    const reached = sockets.filter(reach);
    if (reached.length > 0) return `The process listens on ${namePorts(reached)}, but ${source} says ${port}.`;
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

/** A helper container takes a second where the engine is busy. */
const READ_MS = 5_000;
/** Of many containers that start slowly at once, so many are read at a time; the others try again after a moment. */
const MOST_READS = 8;
const BUSY_MS = 1_000;

/**
 * Reads where a container listens that is not ready after 10 s, again after 20 s, 40 s and so on. It only helps an explanation: no failure of it fails
 * a start.
 */
export function createListenerWatch({ engine, clock }: { engine: Pick<ContainerEngine, "call">; clock: Clock }): WatchListeners {
  let reading = 0;
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not report where a container listens within ${READ_MS / 1_000} s.`);
  return (service, { of, found }) => {
    const over = new AbortController();
    const { signal } = over;
    let began = false;
    const read = async () => {
      const step = of();
      if (step?.launchedOn === undefined || !step.expected?.length || signal.aborted || reading >= MOST_READS) return;
      reading++;
      try {
        found((await engine.call("listeners", [service], { deadline: { ms: READ_MS, overdue }, signal })) ?? "unknown");
      } catch {
        // What was found before may still be so.
        if (!signal.aborted && step.finding === undefined) found("unknown");
      } finally {
        reading--;
      }
    };
    const watch = async () => {
      for (let passed = 0, next = SLOW_START_MS; ;) {
        await clock.sleep(next - passed, signal);
        passed = next;
        if (reading >= MOST_READS) {
          next = passed + BUSY_MS;
          continue;
        }
        await read();
        next = passed * 2;
      }
    };
    return {
      begin: () => {
        if (began) return;
        began = true;
        watch().catch(() => {});
      },
      read,
      end: () => over.abort(new Error("The start has ended.")),
    };
  };
}
