import { useState } from "preact/hooks";
import { request, useRequest } from "../api-client.ts";
import type { ControlProcesses } from "../entities.ts";
import { ConfirmDialog } from "../parts/dialog.tsx";
import { Facts, Failure, Loading, spanOf, Table } from "../parts/display.tsx";
import { useNotices } from "../parts/notices.tsx";

/** A standby with an older sign of life may have ended: the server refuses to step down for it. */
const STANDBY_MS = 5_000;

/** Which control process leads, which stand by, and their database. */
export function ControlProcessesPage() {
  const { value: control, error, reload } = useRequest<ControlProcesses>("/admin/control", { everyMs: 5_000 });
  return (
    <>
      <h1>Control processes</h1>
      <Failure error={error} onRetry={reload} />
      {control ? <Processes control={control} onDone={reload} /> : error ? null : <Loading />}
    </>
  );
}

function Processes({ control: { database, epoch, processes, gateways }, onDone }: { control: ControlProcesses; onDone(): void }) {
  const [isAsking, setAsking] = useState(false);
  const notices = useNotices();
  const hasStandby = processes.some(({ leads, lagMs }) => !leads && lagMs < STANDBY_MS);
  const stepDown = () => {
    setAsking(false);
    request("/admin/control/step-down", { method: "POST" })
      .then(() => notices.done("The leader steps down. Another control process leads within seconds."), notices.failed)
      .finally(onDone);
  };
  if (database === null)
    return (
      <>
        <Facts facts={[["Gateways", `${gateways} connected`]]} />
        <p class="quiet">There is one control process, and its store is a file in the data folder. Set BERTH_DATABASE_URL to run several.</p>
      </>
    );
  return (
    <>
      <Facts
        facts={[
          ["Database", `${database.name}, ${Math.round(database.roundTripMs)} ms`],
          ["Epoch", epoch],
          ["Gateways", `${gateways} connected`],
        ]}
      />
      <section aria-label="Control processes">
        <Table
          rows={processes}
          keyOf={({ name, url, upMs, lagMs }) => `${name} ${url} ${upMs + lagMs}`}
          columns={[
            { name: "Machine", cell: ({ name }) => name },
            { name: "Role", cell: ({ leads }) => <span class={leads ? "status good" : "status resting"}>{leads ? "leader" : "standby"}</span> },
            { name: "Address", cell: ({ url }) => <code>{url}</code> },
            { name: "Version", cell: ({ version }) => version },
            { name: "Running for", cell: ({ upMs }) => spanOf(upMs) },
            { name: "Last contact", cell: ({ lagMs }) => `${(lagMs / 1_000).toFixed(1)} s ago` },
          ]}
        />
      </section>
      <div class="tools">
        <button type="button" class="danger" disabled={!hasStandby} onClick={() => setAsking(true)}>
          Step down…
        </button>
        {hasStandby ? null : <span class="quiet">No standby could lead. Start another control process with the same BERTH_DATABASE_URL.</span>}
      </div>
      {isAsking ? (
        <ConfirmDialog title="Let another control process lead?" verb="Step down" onConfirm={stepDown} onClose={() => setAsking(false)}>
          <p>The leader ends, and a standby leads within seconds. Requests to running containers go on; starts wait until then.</p>
        </ConfirmDialog>
      ) : null}
    </>
  );
}
