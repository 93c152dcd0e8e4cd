import { START_PHASES } from "../../../../lib/start-phases.ts";
import { useRequest } from "../api-client.ts";
import type { Explanation, HistoryEntry, OpenRequests, Wake } from "../entities.ts";
import { Failure, Moment, sizeOf, spanOf, Status, Table } from "../parts/display.tsx";

/** Why the container is in its status, what happens next, and the last failure. */
export function ExplanationSection({ id, version }: { id: string; version: string }) {
  const { value, error, reload } = useRequest<Explanation>(`/docker/containers/${id}/explain`, { everyMs: 5_000, version });
  return (
    <section aria-labelledby="why">
      <h2 id="why">Why</h2>
      <Failure error={error} onRetry={reload} />
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
            {value.tcp ? <li>{value.tcp.says}</li> : null}
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

/** Open requests and sockets, which prevent the idle stop. */
export function OpenRequestList({ id }: { id: string }) {
  const { value: gateways, error, reload } = useRequest<OpenRequests[]>(`/docker/containers/${id}/open`, { everyMs: 3_000 });
  const open = gateways?.flatMap((one) => one.open) ?? [];
  const count = gateways?.reduce((all, one) => all + one.count, 0) ?? 0;
  const unanswered = gateways?.filter(({ answered }) => !answered) ?? [];
  return (
    <section aria-labelledby="open-requests">
      <h2 id="open-requests">Open requests</h2>
      <Failure error={error} onRetry={reload} />
      {unanswered.length > 0 ? <p class="failure">{unanswered.map(({ gateway }) => gateway).join(", ")} did not answer in time.</p> : null}
      {gateways && count === 0 ? <p class="quiet">No open requests.</p> : null}
      {open.length === 0 ? null : (
        <Table
          rows={open.map((one, index) => ({ ...one, index }))}
          keyOf={({ since, login, index }) => `${since} ${login} ${index}`}
          columns={[
            { name: "Kind", cell: ({ kind, state }) => `${kind}, ${state}` },
            { name: "User", cell: ({ login }) => login },
            { name: "Since", cell: ({ since }) => <Moment at={since} /> },
            { name: "In", cell: ({ bytesIn }) => sizeOf(bytesIn) },
            { name: "Out", cell: ({ bytesOut }) => sizeOf(bytesOut) },
          ]}
        />
      )}
      {count > open.length ? <p class="quiet">{count - open.length} more.</p> : null}
    </section>
  );
}

/** Variables with secret values. The API masks those that the caller may not read at all. */
const SECRET = /key|token|secret|password|passwd|credential|auth/i;

/** The variables and settings of a container. Values that look secret are masked. */
export function Environment({ variables, config }: { variables: Record<string, string>; config: Record<string, unknown> }) {
  const rows = Object.entries(variables);
  return (
    <section aria-labelledby="environment">
      <h2 id="environment">Environment</h2>
      {rows.length === 0 ? <p class="quiet">No variables.</p> : null}
      <dl class="facts">
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>
              <code>{name}</code>
            </dt>
            <dd>
              <code>{SECRET.test(name) ? "***" : value}</code>
            </dd>
          </div>
        ))}
      </dl>
      <h3>container.json</h3>
      <pre>{JSON.stringify(config, undefined, 2)}</pre>
    </section>
  );
}

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
