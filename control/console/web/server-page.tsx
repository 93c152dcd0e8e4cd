import type { Stand } from "./entities.ts";
import { Facts } from "./parts/display.tsx";
import { Failure } from "./parts/failure.tsx";
import { Moment } from "./parts/moment.tsx";
import { sizeOf } from "./parts/size.ts";
import { Status } from "./parts/status.tsx";
import { Table } from "./parts/table.tsx";
import { useAsked } from "./use-asked.ts";

const MEBIBYTE = 1_048_576;

/** What there is, what of it is promised, and how old the keys are; for administrators. */
export function StandPage() {
  const { value: stand, error, again } = useAsked<Stand>("/admin/stand", { everyMs: 5_000 });
  return (
    <>
      <h1>Stand</h1>
      <Failure error={error} onRetry={again} />
      {stand ? (
        <>
          <Facts
            facts={[
              ["Backend", `${stand.backend.driver}, environment ${stand.backend.environment}`],
              ["Capacity", capacityOf(stand)],
              ["Promised", roomOf(stand.promised)],
              ["Queue", `${stand.queue.running} at work, ${stand.queue.waiting} waiting`],
              ["Gateways", stand.gateways],
              ["Version", `berth ${stand.version}, Node ${stand.node}`],
              ["Started", <Moment at={stand.startedOn} />],
            ]}
          />
          <Counts title="Containers" counts={stand.containers} />
          <Counts title="Images" counts={stand.images} />
          <section aria-labelledby="keys">
            <h2 id="keys">Keys</h2>
            <Table
              rows={[
                ...stand.signingKeys.map(({ kid, signs, createdOn }) => ({
                  key: kid,
                  use: signs ? "signs docker tokens" : "signed docker tokens that may still be good",
                  createdOn,
                })),
                ...stand.developerKeys.map(({ login, id, label, createdOn }) => ({ key: id, use: [login, label].join(" "), createdOn })),
              ]}
              keyOf={({ key, use }) => `${key} ${use}`}
              columns={[
                { name: "Key", cell: ({ key }) => <code>{key}</code> },
                { name: "For", cell: ({ use }) => use },
                { name: "Made", cell: ({ createdOn }) => <Moment at={createdOn} /> },
              ]}
            />
          </section>
        </>
      ) : null}
    </>
  );
}

function Counts({ title, counts }: { title: string; counts: Record<string, number> }) {
  const rows = Object.entries(counts);
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      {rows.length === 0 ? <p class="quiet">None.</p> : null}
      <dl class="facts">
        {rows.map(([status, count]) => (
          <div key={status}>
            <dt>
              <Status status={status} />
            </dt>
            <dd>{count}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function capacityOf({ capacity }: Stand): string {
  if (capacity === null) return "not told by the backend";
  return `${roomOf(capacity)}${capacity.machines > 1 ? `, ${capacity.machines} machines` : ""}`;
}

function roomOf({ cpu, memoryMb }: { cpu: number; memoryMb: number }): string {
  return `${Number(cpu.toFixed(2))} cores, ${sizeOf(memoryMb * MEBIBYTE)}`;
}
