import { plainLogText } from "../../../../lib/plain-log-text.ts";
import type { Explanation, Wake } from "../entities.ts";
import { MessageText, Moment } from "../parts/display.tsx";

type LastFailure = NonNullable<Explanation["failure"]>;
export type FailureGroup = { code: string; message: string; count: number; last: string; logs: readonly string[] };

/** One card per cause. */
export function FailureCards({ groups }: { groups: readonly FailureGroup[] }) {
  return (
    <>
      {groups.map(({ code, message, count, last, logs }) => (
        <div key={`${code} ${message}`} class="failure card" role="note" aria-label="Last failure">
          <p>
            <code>{code}</code> <MessageText text={message} />
          </p>
          <p class="quiet">
            {count > 1 ? `${count} times, last ` : null}
            <Moment at={last} />
          </p>
          {logs.length === 0 ? null : <pre>{plainLogText(logs.join("\n"))}</pre>}
        </div>
      ))}
    </>
  );
}

/** The failures since the last success by their causes; a success hides them all. `wakes`: the newest first. */
export function groupFailures(wakes: readonly Wake[], failure: LastFailure | null): FailureGroup[] {
  // A start in progress has neither succeeded nor failed.
  const success = wakes.findIndex(({ outcome }) => outcome === "answered");
  const groups = new Map<string, FailureGroup>();
  const add = (cause: { code: string; message: string }, time: string, logs: readonly string[]) => {
    // Of one cause, the message may name other times.
    const key = `${cause.code} ${cause.message.replaceAll(/\d+/g, "0")}`;
    const group = groups.get(key);
    if (group) group.count++;
    else groups.set(key, { ...cause, count: 1, last: time, logs });
  };
  for (const { cause, ended } of wakes.slice(0, success < 0 ? wakes.length : success)) {
    if (cause && ended !== null) add(cause, ended, failure?.code === cause.code ? failure.logs : []);
  }
  const isOver = failure && wakes.some(({ outcome, ended }) => outcome === "answered" && ended !== null && ended >= failure.time);
  // Not every failure is one of a start.
  if (failure && !isOver && groups.size === 0) add(failure, failure.time, failure.logs);
  return [...groups.values()];
}
