import { useEffect, useState } from "preact/hooks";
import { START_PHASES } from "../../../../lib/start-phases.ts";
import type { RequestState } from "../api-client.ts";
import type { Wake } from "../entities.ts";
import { Failure, Moment, Section, spanOf } from "../parts/display.tsx";

/** In their order. `start` is a start whose phases are not known. */
const PHASES = [...START_PHASES.map(({ name }) => name), "connect", "start"];

const TICK_MS = 100;

/** The last cold starts as a waterfall on one scale. The last phase of a start in progress grows until the next response. */
export function Starts({ state: { value: wakes, error, reload } }: { state: RequestState<Wake[]> }) {
  const sinceMs = useElapsed(wakes, wakes?.[0]?.ended === null);
  const shown = wakes?.map((wake) => (wake.ended === null ? grown(wake, sinceMs) : wake));
  const longest = Math.max(1, ...(shown ?? []).map(lengthOf));
  const present = PHASES.filter((name) => shown?.some(({ phases }) => phases.some((phase) => phase.name === name)));
  return (
    <Section title="Cold starts">
      <Failure error={error} onRetry={reload} />
      {shown?.length === 0 ? <p class="quiet">No starts yet. Start the container, or send it a request.</p> : null}
      <ol class="wakes">
        {shown?.map((wake) => (
          <WakeRow key={requestTime(wake)} wake={wake} longest={longest} />
        ))}
      </ol>
      {present.length > 0 ? (
        <p class="legend">
          {present.map((name) => (
            <span key={name}>
              <span class={`bar ${name}`} /> {name}
            </span>
          ))}
        </p>
      ) : null}
    </Section>
  );
}

function WakeRow({ wake, longest }: { wake: Wake; longest: number }) {
  const { by, ended, outcome, phases, cause } = wake;
  const isLive = ended === null;
  const last = phases.at(-1);
  return (
    <li class={isLive ? "live" : cause ? "failed" : undefined}>
      <p>
        <Moment at={requestTime(wake)} />{" "}
        <span class="quiet">{[REASONS[wake.for ?? ""] ?? wake.for, by].filter((part) => part !== null).join(" by ")}</span>{" "}
        <strong>{spanOf(lengthOf(wake))}</strong>{" "}
        {isLive ? (
          `so far: ${last?.name ?? ""} ${spanOf(last?.duration ?? 0)}`
        ) : cause ? (
          <code class="bad-text">{cause.code}</code>
        ) : (
          outcomeOf(outcome)
        )}
      </p>
      <div class="waterfall" role="img" aria-label={phases.map(({ name, duration }) => `${name} ${spanOf(duration)}`).join(", ")}>
        {phases.map(({ name, start, duration }) => (
          <span
            key={name}
            class={`bar ${name}${isLive && name === last?.name ? " growing" : ""}`}
            title={`${name} ${spanOf(duration)}`}
            style={{ left: `${(100 * start) / longest}%`, width: `${(100 * duration) / longest}%` }}
          />
        ))}
      </div>
    </li>
  );
}

const REASONS: Readonly<Record<string, string>> = {
  run: "start",
  keepWarm: "keep_warm hours",
  usualHours: "usual hours",
  loss: "restart after an end",
  redefinition: "new definition",
  dependency: "start of what depends on it",
  expiry: "restart after its max_minutes",
};

function requestTime(wake: Wake): string {
  return wake.asked;
}

function outcomeOf(outcome: string | null): string {
  if (outcome === null || outcome === "answered") return "";
  return outcome === "stopWished" ? "stopped" : outcome === "redefined" ? "replaced" : outcome;
}

function grown(wake: Wake, ms: number): Wake {
  const last = wake.phases.length - 1;
  return { ...wake, phases: wake.phases.map((phase, index) => (index === last ? { ...phase, duration: phase.duration + ms } : phase)) };
}

/** Milliseconds since `value` changed, counted while `isLive`. */
function useElapsed(value: unknown, isLive: boolean): number {
  const [elapsed, setElapsed] = useState(0);
  useEffect(() => {
    setElapsed(0);
    if (!isLive) return undefined;
    const from = performance.now();
    const timer = setInterval(() => setElapsed(performance.now() - from), TICK_MS);
    return () => clearInterval(timer);
  }, [value, isLive]);
  return elapsed;
}

function lengthOf({ phases }: Wake): number {
  return Math.max(0, ...phases.map(({ start, duration }) => start + duration));
}
