import { useRequest } from "../api-client.ts";
import type { ServerOverview } from "../entities.ts";
import { Facts, Failure, Moment, sizeOf, Status, Table } from "../parts/display.tsx";

const MEBIBYTE = 1_048_576;

/** Capacity, reserved resources and the age of keys, for administrators. */
export function ServerPage() {
  const { value: server, error, reload } = useRequest<ServerOverview>("/admin/stand", { everyMs: 5_000 });
  return (
    <>
      <h1>Server</h1>
      <Failure error={error} onRetry={reload} />
      {server ? (
        <>
          <Facts
            facts={[
              ["Backend", `${server.backend.driver}, environment ${server.backend.environment}`],
              ["Capacity", capacityOf(server)],
              ["Reserved", resourcesOf(server.promised)],
              ["Queue", `${server.queue.running} running, ${server.queue.waiting} waiting`],
              ["Gateways", server.gateways],
              ["Version", `berth ${server.version}, Node ${server.node}`],
              ["Started", <Moment at={server.startedOn} />],
            ]}
          />
          <Counts title="Containers" counts={server.containers} />
          <Counts title="Images" counts={server.images} />
          <section aria-labelledby="keys">
            <h2 id="keys">Keys</h2>
            <Table
              rows={[
                ...server.signingKeys.map(({ kid, signs, createdOn }) => ({
                  key: kid,
                  use: signs ? "signs docker tokens" : "signed docker tokens that may still be valid",
                  createdOn,
                })),
                ...server.developerKeys.map(({ login, id, label, createdOn }) => ({
                  key: id,
                  use: `developer key of ${login}${label === "" ? "" : `: ${label}`}`,
                  createdOn,
                })),
              ]}
              keyOf={({ key, use }) => `${key} ${use}`}
              columns={[
                { name: "Key", cell: ({ key }) => <code>{key}</code> },
                { name: "Use", cell: ({ use }) => use },
                { name: "Created", cell: ({ createdOn }) => <Moment at={createdOn} /> },
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

function capacityOf({ capacity }: ServerOverview): string {
  if (capacity === null) return "unlimited or unknown";
  return `${resourcesOf(capacity)}${capacity.machines > 1 ? `, ${capacity.machines} machines` : ""}`;
}

function resourcesOf({ cpu, memoryMb }: { cpu: number; memoryMb: number }): string {
  return `${Number(cpu.toFixed(2))} cores, ${sizeOf(memoryMb * MEBIBYTE)}`;
}
