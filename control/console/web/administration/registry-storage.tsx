import { useState } from "preact/hooks";
import { request, useRequest } from "../api-client.ts";
import type { Garbage } from "../entities.ts";
import { linkTo } from "../location.ts";
import { Action, Toggle } from "../parts/controls.tsx";
import { ConfirmDialog } from "../parts/dialog.tsx";
import { Facts, Failure, Loading, Moment, Section, sizeOf, Table } from "../parts/display.tsx";
import { useNotices } from "../parts/notices.tsx";

const RUNNING_MS = 1_000;
const IDLE_MS = 10_000;

/** Deleted tags leave their layers in the registry. A dry run counts them; a collection frees their space. */
export function RegistryStoragePage() {
  const [isRunning, setRunning] = useState(false);
  const { value: garbage, error, reload } = useRequest<Garbage>("/admin/registry/garbage", { everyMs: isRunning ? RUNNING_MS : IDLE_MS });
  const running = garbage?.running ?? null;
  if (garbage && isRunning !== (running !== null)) setRunning(running !== null);
  return (
    <>
      <h1>Registry storage</h1>
      <p class="quiet">
        <a href={linkTo("registry")}>Registry</a> lists repositories and deletes tags. Layers of deleted images stay in the storage until garbage is
        collected.
      </p>
      <Failure error={error} onRetry={reload} />
      {garbage ? <GarbageView garbage={garbage} onStarted={() => (setRunning(true), reload())} /> : error ? null : <Loading />}
    </>
  );
}

function GarbageView({ garbage: { storage, isShared, running, last }, onStarted }: { garbage: Garbage; onStarted(): void }) {
  const [isAsking, setAsking] = useState(false);
  const [alone, setAlone] = useState(false);
  const notices = useNotices();
  const start = (body: { dryRun: boolean; alone?: boolean }) =>
    request("/admin/registry/garbage", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }).then(
      onStarted,
    );
  const collect = () => {
    setAsking(false);
    start({ dryRun: false, alone }).catch(notices.failed);
  };
  // A collection follows a dry run that found something.
  const isCounted = last !== null && last.dryRun && last.failure === null && last.blobs > 0;
  return (
    <>
      <Facts facts={[["Storage", <code>{storage}</code>]]} />
      <div class="tools">
        <Action act={() => start({ dryRun: true })} disabled={running !== null}>
          Dry run
        </Action>
        <button type="button" class="danger" disabled={running !== null || !isCounted} onClick={() => setAsking(true)}>
          Collect garbage…
        </button>
      </div>
      {running ? <Progress running={running} /> : null}
      {running === null && last === null ? <p class="quiet">Start a dry run to see what would be deleted.</p> : null}
      {running === null && last ? <Result last={last} /> : null}
      {isAsking && last ? (
        <ConfirmDialog title="Collect garbage?" verb="Collect garbage" onConfirm={collect} onClose={() => setAsking(false)}>
          <p>
            berth deletes {countOf(last.blobs)}
            {last.bytes === null ? "" : `, ${sizeOf(last.bytes)}`}. It waits for open pushes to end, and refuses pushes and deletions until it ends.
            Pulls go on.
          </p>
          {isShared ? (
            <>
              <p class="bad-text">Registries of other machines may use this storage. A push to one of them meanwhile would lose layers.</p>
              <Toggle label="No other registry takes pushes now" value={alone} onChange={setAlone} />
            </>
          ) : null}
        </ConfirmDialog>
      ) : null}
    </>
  );
}

const PHASES: Readonly<Record<NonNullable<Garbage["running"]>["phase"], string>> = {
  "refusing pushes": "Waiting for open pushes to end",
  "reading manifests": "Reading manifests",
  deleting: "Deleting",
  "accepting pushes": "Accepting pushes again",
};

function Progress({ running: { dryRun, phase, deleted, total, startedOn } }: { running: NonNullable<Garbage["running"]> }) {
  const text = phase === "deleting" && total !== null ? `Deleting: ${deleted} of ${total}` : PHASES[phase];
  return (
    <div class="garbage-progress" role="status">
      <p>
        {dryRun ? "Dry run" : "Collection"}: {text} <span class="quiet">(started </span>
        <Moment at={startedOn} />
        <span class="quiet">)</span>
      </p>
      <progress aria-label={text} {...(phase === "deleting" && total ? { value: deleted, max: total } : {})} />
    </div>
  );
}

function Result({ last: { dryRun, endedOn, blobs, bytes, largest, failure } }: { last: NonNullable<Garbage["last"]> }) {
  const size = bytes === null ? "" : `, ${sizeOf(bytes)}`;
  return (
    <Section title={dryRun ? "Last dry run" : "Last collection"}>
      {failure === null ? null : <Failure error={new Error(failure)} />}
      {failure === null ? (
        <p>
          {blobs === 0 ? "No garbage." : `${dryRun ? "A collection would delete" : "Deleted"} ${countOf(blobs)}${size}.`} <Moment at={endedOn} />
        </p>
      ) : null}
      {largest.length > 0 ? (
        <Table
          rows={largest}
          keyOf={({ digest }) => digest}
          columns={[
            { name: "Digest", cell: ({ digest }) => <code>{digest}</code> },
            { name: "Size", isNumber: true, cell: (blob) => sizeOf(blob.bytes) },
          ]}
        />
      ) : null}
      {blobs > largest.length && largest.length > 0 ? (
        <p class="quiet">
          The {largest.length} largest of {blobs}.
        </p>
      ) : null}
    </Section>
  );
}

function countOf(blobs: number): string {
  return blobs === 1 ? "1 layer or manifest" : `${blobs} layers and manifests`;
}
