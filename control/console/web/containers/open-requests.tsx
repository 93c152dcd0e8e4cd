import { useRequest } from "../api-client.ts";
import type { OpenRequests } from "../entities.ts";
import { Failure, Moment, Section, sizeOf, Table } from "../parts/display.tsx";

/** Open requests and sockets, which prevent the idle stop. */
export function OpenRequestList({ id }: { id: string }) {
  const { value: gateways, error, reload } = useRequest<OpenRequests[]>(`/docker/containers/${id}/open`, { everyMs: 3_000 });
  const open = gateways?.flatMap((one) => one.open) ?? [];
  const count = gateways?.reduce((all, one) => all + one.count, 0) ?? 0;
  const unanswered = gateways?.filter(({ answered }) => !answered) ?? [];
  return (
    <Section title="Open requests">
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
    </Section>
  );
}
