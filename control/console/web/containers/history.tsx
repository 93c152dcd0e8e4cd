import type { HistoryEntry } from "../entities.ts";
import { Failure, Status } from "../parts/display.tsx";
import { Moment } from "../parts/moment.tsx";
import { useRequest } from "../api-client.ts";

/** The list shows only the latest events. */
const MOST_EVENTS = 50;

/** The events of a container or an image, newest first. Reloads when the status changes. */
export function History({ path, status }: { path: string; status: string }) {
  const { value: entries, error, reload } = useRequest<HistoryEntry[]>(path, { version: status });
  return (
    <section aria-labelledby="history">
      <h2 id="history">History</h2>
      <Failure error={error} onRetry={reload} />
      {entries?.length === 0 ? <p class="quiet">No events yet.</p> : null}
      <ol class="time-line">
        {entries
          ?.toReversed()
          .slice(0, MOST_EVENTS)
          .map(({ time, to, event, by, login, cause }) => (
            <li key={`${time} ${event}`}>
              <Moment at={time} /> <Status status={to} /> <code>{event}</code>{" "}
              <span class="quiet">by {by === "system" ? "berth" : (login ?? "a removed user")}</span>
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
