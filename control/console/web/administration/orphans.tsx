import { useState } from "preact/hooks";
import { request, useRequest } from "../api-client.ts";
import type { Orphan } from "../entities.ts";
import { Failure, Loading, Status, Table } from "../parts/display.tsx";
import { ConfirmDialog } from "../parts/dialog.tsx";
import { useNotices } from "../parts/notices.tsx";

/** Why a service belongs to no container, as `berth orphans` says it. */
const REASONS: Readonly<Record<Orphan["why"], string>> = {
  "another store": "started by another berth, or by this one before its store was replaced",
  "another name": "the container of its id has another service now",
  "unknown id": "this store has no container of its id",
};

/** Services with berth's labels that belong to no container. berth never removes them by itself. */
export function OrphansPage() {
  const { value: orphans, error, reload } = useRequest<Orphan[]>("/admin/orphans");
  const [selected, setSelected] = useState<Orphan>();
  const [removing, setRemoving] = useState<string>();
  const notices = useNotices();
  const remove = ({ service }: Orphan) => {
    setSelected(undefined);
    setRemoving(service);
    request(`/admin/orphans?service=${encodeURIComponent(service)}`, { method: "DELETE" })
      .then(() => notices.done(`${service} is removed.`), notices.failed)
      .finally(() => {
        setRemoving(undefined);
        reload();
      });
  };
  return (
    <>
      <div class="page-head">
        <h1>Orphans</h1>
        <button type="button" onClick={reload}>
          Reload
        </button>
      </div>
      <p class="quiet">
        Services at the container engine with berth's labels that belong to no container. Another berth may use them, so berth never removes them by
        itself.
      </p>
      <Failure error={error} onRetry={reload} />
      {orphans === undefined ? error ? null : <Loading /> : null}
      {orphans?.length === 0 ? <p class="quiet">No orphans. Every service belongs to a container.</p> : null}
      {orphans && orphans.length > 0 ? (
        <Table
          rows={orphans}
          keyOf={({ service }) => service}
          columns={[
            { name: "Service", cell: ({ service }) => <code>{service}</code> },
            { name: "Status", cell: ({ running }) => <Status status={running ? "started" : "stopped"} /> },
            { name: "Reason", cell: ({ why }) => REASONS[why] },
            { name: "Environment", cell: ({ environment }) => environment },
            {
              name: "Store",
              cell: ({ store }) => (
                <code class="exact" title={store}>
                  {store.slice(0, 8)}
                </code>
              ),
            },
            {
              name: "Actions",
              isAction: true,
              cell: (orphan) => (
                <button
                  type="button"
                  class="danger"
                  disabled={removing !== undefined}
                  aria-busy={removing === orphan.service}
                  onClick={() => setSelected(orphan)}
                >
                  Remove…<span class="unseen"> {orphan.service}</span>
                </button>
              ),
            },
          ]}
        />
      ) : null}
      {selected ? (
        <ConfirmDialog title={`Remove ${selected.service}?`} verb="Remove" onConfirm={() => remove(selected)} onClose={() => setSelected(undefined)}>
          <p>berth stops the service and removes it from the container engine{selected.running ? ", with its open requests" : ""}.</p>
          {selected.why === "another store" ? <p>If another berth on this engine started it, that berth starts it again.</p> : null}
        </ConfirmDialog>
      ) : null}
    </>
  );
}
