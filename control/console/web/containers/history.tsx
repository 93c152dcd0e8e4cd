import type { Move } from "../entities.ts";
import { Failure } from "../parts/failure.tsx";
import { Moment } from "../parts/moment.tsx";
import { Status } from "../parts/status.tsx";
import { useAsked } from "../use-asked.ts";

/** So many moves are read at a glance. */
const SHOWN = 50;

/** What became of a container or an image, newest first; asked again whenever its status is another. */
export function TimeLine({ path, status }: { path: string; status: string }) {
  const { value: moves, error, again } = useAsked<Move[]>(path, { turn: status });
  return (
    <section aria-labelledby="history">
      <h2 id="history">History</h2>
      <Failure error={error} onRetry={again} />
      {moves?.length === 0 ? <p class="quiet">Nothing has happened to it yet.</p> : null}
      <ol class="time-line">
        {moves
          ?.toReversed()
          .slice(0, SHOWN)
          .map(({ time, to, event, by, login, cause }) => (
            <li key={`${time} ${event}`}>
              <Moment at={time} /> <Status status={to} /> <code>{event}</code>{" "}
              <span class="quiet">by {by === "system" ? "berth" : (login ?? "a user who is gone")}</span>
              {cause ? (
                <p class="failure">
                  <code>{cause.code}</code> {cause.message}
                </p>
              ) : null}
            </li>
          ))}
      </ol>
    </section>
  );
}
