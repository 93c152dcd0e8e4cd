import type { Spec } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";

/** What a deploy in progress does. Times are epoch ms. */
export type StartStep = {
  since: number;
  /** What the driver was given, once that is prepared. */
  spec?: Pick<Spec, "port" | "graceMs">;
  /** The last progress of the pull; bytes. */
  pull?: { since: number; at: number; done: number; total: number };
  /** The orchestrator has done its part: the container runs, or is about to. */
  launchedOn?: number;
};

/** The deploys in progress, by container. Entries live as long as the deploy. */
export type StartSteps = {
  begin(id: string): { prepared(spec: Spec): void; pulled(progress: { done: number; total: number }): void; launched(): void; end(): void };
  of(id: string): StartStep | undefined;
};

export function createStartSteps({ now }: Pick<Clock, "now">): StartSteps {
  const steps = new Map<string, StartStep>();
  return {
    of: (id) => steps.get(id),
    begin: (id) => {
      const step: StartStep = { since: now() };
      steps.set(id, step);
      return {
        prepared: (spec) => void (step.spec = spec),
        pulled: (progress) => void (step.pull = { since: step.pull?.since ?? now(), at: now(), ...progress }),
        launched: () => void (step.launchedOn ??= now()),
        end: () => void (steps.get(id) === step && steps.delete(id)),
      };
    },
  };
}

/** A driver reports the progress of a pull at least every few seconds: without a report for so long, the pull has ended. */
const PULL_SILENCE_MS = 10_000;

/** What a start in progress does, and since when: a sentence. `now` is epoch ms. */
export function describeStep({ since, spec, pull, launchedOn }: StartStep, now: number): string {
  const seconds = (from: number) => `${Math.max(0, Math.round((now - from) / 1_000))} s`;
  if (pull && now - pull.at < PULL_SILENCE_MS) {
    const megabytes = (bytes: number) => Math.round(bytes / 1_000_000);
    const size = pull.total > 0 ? `: ${megabytes(pull.done)} of ${megabytes(pull.total)} MB` : "";
    return `Its image has been pulling for ${seconds(pull.since)}${size}.`;
  }
  if (launchedOn === undefined) return `The container engine has been creating it for ${seconds(since)}.`;
  const runs = `It has been starting for ${seconds(Math.max(launchedOn, pull?.at ?? 0))}`;
  if (spec?.port === undefined) return `${runs}, and counts as started after ${Math.round((spec?.graceMs ?? 0) / 1_000)} s.`;
  return `${runs}, and nothing accepts connections on port ${spec.port}.`;
}
