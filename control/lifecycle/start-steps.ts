import type { Spec } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Wake } from "../model/records.ts";
import { describeListeners, type ExpectedPort, type ListenerFinding } from "./describe-listeners.ts";

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
        end: () => void (steps.get(id) === step && steps.delete(id)),
      };
    },
  };
}

/** A driver reports the progress of a pull at least every few seconds: without a report for so long, the pull has ended. */
const PULL_SILENCE_MS = 10_000;

/** Of a start that takes longer, a reader wants to know why, and how long it may still take. */
export const SLOW_START_MS = 10_000;

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
function describeWait({ spec, finding, healthStatus }: StartStep): string {
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
