import { useState } from "preact/hooks";
import type { RecentRequestsJson } from "../../../api/schemas-series.ts";
import { useRequest } from "../api-client.ts";
import { durationText } from "../charts/units.ts";
import { Filter } from "../parts/controls.tsx";
import { Failure, Loading, Moment, Table } from "../parts/display.tsx";

type RecentRow = RecentRequestsJson[number];

const EVERY_MS = 3_000;
const GROUPS: readonly { word: string; includes(row: RecentRow): boolean }[] = [
  { word: "all", includes: () => true },
  { word: "failed", includes: ({ status }) => status >= 400 || status === 0 },
];
/** Of a container at the edge, before its own path. */
const PREFIX = /^\/api\/docker\/containers\/(?:proxy|proxy-ws)\/[^/]+/;

/** The last finished requests of a container, which gateways keep in memory. */
export function RecentRequests({ id }: { id: string }) {
  const { value: recent, error, reload } = useRequest<RecentRequestsJson>(`/docker/containers/${id}/requests`, { everyMs: EVERY_MS });
  const [group, setGroup] = useState("all");
  const includes = GROUPS.find(({ word }) => word === group)?.includes ?? (() => true);
  const rows = recent?.filter(includes).map((row, index) => ({ ...row, index })) ?? [];
  if (!recent) return error ? <Failure error={error} onRetry={reload} /> : <Loading />;
  return (
    <>
      <Failure error={error} onRetry={reload} />
      <div class="tools">
        <Filter
          label="Show"
          value={group}
          onChange={setGroup}
          choices={GROUPS.map(({ word, includes: counts }) => ({ word, count: recent.filter(counts).length }))}
        />
      </div>
      {rows.length === 0 ? (
        <p class="quiet">
          {recent.length === 0
            ? "No finished requests since the gateways started, or an administrator set BERTH_RECENT_REQUESTS=off."
            : "No failed requests among the last ones."}
        </p>
      ) : (
        <Table
          rows={rows}
          keyOf={({ time, index }) => `${time} ${index}`}
          columns={[
            { name: "Time", cell: ({ time }) => <Moment at={time} /> },
            { name: "Method", cell: ({ method }) => method },
            { name: "Path", cell: ({ path }) => (path === "" ? <span class="quiet">–</span> : <code>{path.replace(PREFIX, "") || "/"}</code>) },
            {
              name: "Status",
              isNumber: true,
              cell: ({ status }) => <span class={status >= 500 ? "wrong-status" : undefined}>{status === 0 ? "left" : status}</span>,
            },
            { name: "Duration", isNumber: true, cell: ({ ms }) => durationText(ms) },
            { name: "User", cell: ({ login }) => login || <span class="quiet">–</span> },
          ]}
        />
      )}
    </>
  );
}
