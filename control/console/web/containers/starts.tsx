import type { Wake } from "../entities.ts";
import { Failure } from "../parts/display.tsx";
import { Moment, spanOf } from "../parts/moment.tsx";
import { useRequest } from "../api-client.ts";
import { START_PHASES } from "../../../../lib/start-phases.ts";

/** The last cold starts as a waterfall on one scale. */
export function Starts({ id, version }: { id: string; version: string }) {
  const { value: wakes, error, reload } = useRequest<Wake[]>(`/docker/containers/${id}/wakes`, { version });
  const longest = Math.max(1, ...(wakes ?? []).map(lengthOf));
  return (
    <section aria-labelledby="wakes">
      <h2 id="wakes">Cold starts</h2>
      <Failure error={error} onRetry={reload} />
      {wakes?.length === 0 ? <p class="quiet">No starts yet. Start the container, or send it a request.</p> : null}
      <ol class="wakes">
        {wakes?.map((wake) => (
          <li key={wake.asked}>
            <p>
              <Moment at={wake.asked} /> <span class="quiet">{[wake.for, wake.by].filter((part) => part !== null).join(" by ")}</span>{" "}
              <strong>{spanOf(lengthOf(wake))}</strong> {wake.ended === null ? "so far" : wake.outcome === "answered" ? "" : (wake.outcome ?? "")}
            </p>
            <div class="waterfall" role="img" aria-label={wake.phases.map(({ name, duration }) => `${name} ${spanOf(duration)}`).join(", ")}>
              {wake.phases.map(({ name, start, duration }) => (
                <span
                  key={name}
                  class={`bar ${name}`}
                  title={`${name} ${spanOf(duration)}`}
                  style={{ left: `${(100 * start) / longest}%`, width: `${(100 * duration) / longest}%` }}
                />
              ))}
            </div>
            {wake.cause ? (
              <p class="failure">
                <code>{wake.cause.code}</code> {wake.cause.message}
              </p>
            ) : null}
          </li>
        ))}
      </ol>
      {wakes && wakes.length > 0 ? (
        <p class="legend">
          {PHASES.map((name) => (
            <span key={name}>
              <span class={`bar ${name}`} /> {name}
            </span>
          ))}
        </p>
      ) : null}
    </section>
  );
}

/** In their order. `start` is a start whose phases are not known. */
const PHASES = [...START_PHASES.map(({ name }) => name), "connect", "start"];

function lengthOf({ phases }: Wake): number {
  return Math.max(0, ...phases.map(({ start, duration }) => start + duration));
}
