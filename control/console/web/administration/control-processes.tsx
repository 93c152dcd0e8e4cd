import { useState } from "preact/hooks";
import { request, useRequest } from "../api-client.ts";
import type { ControlProcesses } from "../entities.ts";
import { ConfirmDialog } from "../parts/dialog.tsx";
import { Facts, Failure, Loading, Section, sizeOf, spanOf, Table } from "../parts/display.tsx";
import { useNotices } from "../parts/notices.tsx";

/** A standby with an older sign of life may have ended: the server refuses to step down for it. */
const STANDBY_MS = 5_000;

/** The connected gateways with their load; which control process leads, which stand by, and their database. */
export function ControlProcessesPage() {
  const { value: control, error, reload } = useRequest<ControlProcesses>("/admin/control", { everyMs: 5_000 });
  return (
    <>
      <h1>Processes</h1>
      <Failure error={error} onRetry={reload} />
      {control ? <Gateways connected={control.connected} /> : error ? null : <Loading />}
      {control ? (
        <Section title="Control">
          <Processes control={control} onDone={reload} />
        </Section>
      ) : null}
    </>
  );
}

function Processes({ control: { database, epoch, processes }, onDone }: { control: ControlProcesses; onDone(): void }) {
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
    return <p class="quiet">There is one control process, and its store is a file in the data folder. Set BERTH_DATABASE_URL to run several.</p>;
  return (
    <>
      <Facts
        facts={[
          ["Database", `${database.name}, ${Math.round(database.roundTripMs)} ms`],
          ["Epoch", epoch],
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

const UNKNOWN = "–";

function Gateways({ connected }: { connected: ControlProcesses["connected"] }) {
  return (
    <Section title="Gateways">
      {connected.length === 0 ? <p class="quiet">No gateway is connected. Start berth gateway, or look at its log.</p> : null}
      {connected.length > 0 ? (
        <Table
          rows={connected}
          keyOf={({ gateway }) => gateway}
          columns={[
            { name: "Machine", cell: ({ load }) => load?.machine ?? "does not answer" },
            { name: "Process", isNumber: true, cell: ({ load }) => load?.pid ?? UNKNOWN },
            { name: "Version", cell: ({ load }) => load?.version ?? UNKNOWN },
            { name: "Sockets", cell: ({ load }) => load?.sockets ?? UNKNOWN },
            { name: "Open requests", isNumber: true, cell: ({ load }) => load?.openRequests ?? UNKNOWN },
            { name: "CPU", isNumber: true, cell: ({ load }) => (load ? `${load.cores.toFixed(2)} cores` : UNKNOWN) },
            { name: "Memory", isNumber: true, cell: ({ load }) => (load ? sizeOf(load.memoryBytes) : UNKNOWN) },
            { name: "Running for", cell: ({ load }) => (load ? spanOf(load.upMs) : UNKNOWN) },
          ]}
        />
      ) : null}
    </Section>
  );
}
