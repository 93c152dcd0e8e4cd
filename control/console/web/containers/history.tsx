import { useRequest } from "../api-client.ts";
import type { HistoryEntry } from "../entities.ts";
import { Failure, Moment, Section, Status } from "../parts/display.tsx";

/** The list shows only the latest events. */
const MOST_EVENTS = 100;

/** What each event means. An unknown one is shown as it is. */
const EVENTS: Readonly<Record<string, string>> = {
  startWished: "start requested",
  stopWished: "stop requested",
  idled: "idle for its shutdown_timeout",
  expired: "has run for its max_minutes",
  displaced: "was idle, and another container needed its place",
  usedAfterAll: "request during the stop",
  redefined: "new definition",
  startBegan: "start began",
  answered: "ready",
  startFailed: "start failed",
  foundRunning: "found running",
  lost: "ended by itself; berth starts it again",
  lostAsleep: "ended by itself; the next request starts it",
  doubted: "address suspect; berth verifies it",
  stopBegan: "stop began",
  stoppedForUser: "stopped",
  stoppedForSystem: "stopped",
  timedOut: "time limit passed",
  validationWished: "validation requested",
  validationBegan: "validation began",
  validated: "valid",
  validationFailed: "validation failed",
};

/** The events of a container or an image, newest first. Reloads when the status changes. */
export function History({ path, status }: { path: string; status: string }) {
  const { value: entries, error, reload } = useRequest<HistoryEntry[]>(path, { version: status });
  return (
    <Section title="History">
      <Failure error={error} onRetry={reload} />
      {entries?.length === 0 ? <p class="quiet">No events yet.</p> : null}
      <ol class="time-line">
        {entries
          ?.toReversed()
          .slice(0, MOST_EVENTS)
          .map(({ time, to, event, by, login, cause }) => (
            <li key={`${time} ${event}`}>
              <Moment at={time} />
              <Status status={to} />
              <span>
                {EVENTS[event] ?? event} <span class="quiet">by {by === "system" ? "berth" : (login ?? "a removed user")}</span>
                {cause ? (
                  <span class="cause">
                    <code>{cause.code}</code> {cause.message}
                  </span>
                ) : null}
              </span>
            </li>
          ))}
      </ol>
    </Section>
  );
}
