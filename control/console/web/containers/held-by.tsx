import type { OpenAtGateway } from "../entities.ts";
import { Failure } from "../parts/failure.tsx";
import { Moment } from "../parts/moment.tsx";
import { sizeOf } from "../parts/size.ts";
import { Table } from "../parts/table.tsx";
import { useAsked } from "../use-asked.ts";

/** The requests and sockets that are open to it now, and so keep it from resting. */
export function HeldBy({ id }: { id: string }) {
  const { value: gateways, error, again } = useAsked<OpenAtGateway[]>(`/docker/containers/${id}/open`, { everyMs: 3_000 });
  const open = gateways?.flatMap((one) => one.open) ?? [];
  const count = gateways?.reduce((all, one) => all + one.count, 0) ?? 0;
  const silent = gateways?.filter(({ answered }) => !answered) ?? [];
  return (
    <section aria-labelledby="held">
      <h2 id="held">Open now</h2>
      <Failure error={error} onRetry={again} />
      {silent.length > 0 ? <p class="failure">{silent.map(({ gateway }) => gateway).join(", ")} did not say in time what it has open.</p> : null}
      {gateways && count === 0 ? <p class="quiet">Nobody holds it awake.</p> : null}
      {open.length === 0 ? null : (
        <Table
          rows={open.map((one, index) => ({ ...one, index }))}
          keyOf={({ since, login, index }) => `${since} ${login} ${index}`}
          columns={[
            { name: "What", cell: ({ kind, state }) => `${kind}, ${state}` },
            { name: "Who", cell: ({ login }) => login },
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
