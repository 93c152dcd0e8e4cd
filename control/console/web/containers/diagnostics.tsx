import type { Explanation } from "../entities.ts";
import { Failure } from "../parts/failure.tsx";
import { Moment } from "../parts/moment.tsx";
import { useAsked } from "../use-asked.ts";

/** Why it is as it is, what comes next, and what went wrong last, in berth's own sentences. */
export function Why({ id, turn }: { id: string; turn: string }) {
  const { value, error, again } = useAsked<Explanation>(`/docker/containers/${id}/explain`, { everyMs: 5_000, turn });
  return (
    <section aria-labelledby="why">
      <h2 id="why">Why</h2>
      <Failure error={error} onRetry={again} />
      {value ? (
        <>
          <p>
            {value.why} <span class="quiet">For</span> <Moment at={value.since} bare />.
          </p>
          <ul>
            {value.next.map(({ kind, time, says }) => (
              <li key={`${kind} ${time}`}>
                {says} <span class="quiet">(</span>
                <Moment at={time} />
                <span class="quiet">)</span>
              </li>
            ))}
            {value.awake.map(({ kind, says }) => (
              <li key={kind}>{says}</li>
            ))}
            <li>{value.engine.says}</li>
          </ul>
          {value.failure ? (
            <div class="failure" role="note" aria-label="Last failure">
              <p>
                <code>{value.failure.code}</code> {value.failure.message} <Moment at={value.failure.time} />
              </p>
              {value.failure.logs.length === 0 ? null : <pre>{value.failure.logs.join("\n")}</pre>}
            </div>
          ) : null}
        </>
      ) : null}
    </section>
  );
}
