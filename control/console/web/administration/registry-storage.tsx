import { useState } from "preact/hooks";
import { request, RequestError, useRequest } from "../api-client.ts";
import type { Garbage, Retention, RetentionRun } from "../entities.ts";
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
      {error instanceof RequestError && error.status === 404 ? <p class="quiet">{error.message}</p> : <Failure error={error} onRetry={reload} />}
      {garbage ? <GarbageView garbage={garbage} onStarted={() => (setRunning(true), reload())} /> : error ? null : <Loading />}
      {garbage ? <RetentionView /> : null}
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

const RETENTION = "/admin/registry/retention";

/** Rules that remove images. The settings have them; an administrator can apply them at once. */
function RetentionView() {
  const { value: retention, error, reload } = useRequest<Retention>(RETENTION);
  const [isAsking, setAsking] = useState(false);
  const notices = useNotices();
  const run = (dryRun: boolean) =>
    request(RETENTION, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ dryRun }) }).then(reload);
  const apply = () => {
    setAsking(false);
    run(false).catch(notices.failed);
  };
  if (!retention) return error ? <Failure error={error} onRetry={reload} /> : <Loading />;
  const { rules, hour, last } = retention;
  return (
    <Section title="Retention rules">
      {rules.length === 0 ? (
        <p class="quiet">No rules. Set BERTH_REGISTRY_RETENTION and restart berth to remove old images once a day.</p>
      ) : (
        <>
          <ul>
            {rules.map((rule) => (
              <li key={rule}>
                <code>{rule}</code>
              </li>
            ))}
          </ul>
          <p class="quiet">
            berth applies them daily between {hour}:00 and {hour}:59 UTC, and collects garbage. Images that containers or kept versions use stay. To
            change the rules, change the setting BERTH_REGISTRY_RETENTION and restart berth.
          </p>
          <div class="tools">
            <Action act={() => run(true)}>Dry run of rules</Action>
            <button type="button" class="danger" disabled={last === null || !last.dryRun || last.removed === 0} onClick={() => setAsking(true)}>
              Remove images…
            </button>
          </div>
          {last ? <RetentionResult last={last} /> : null}
        </>
      )}
      {isAsking && last ? (
        <ConfirmDialog title="Remove images?" verb="Remove images" onConfirm={apply} onClose={() => setAsking(false)}>
          <p>By these rules, berth removes {imagesOf(last.removed)} with all tags. Garbage collection then frees the disk space.</p>
        </ConfirmDialog>
      ) : null}
    </Section>
  );
}

function RetentionResult({ last: { dryRun, endedOn, removed, kept, images, failures } }: { last: RetentionRun }) {
  return (
    <>
      <p role="status">
        {dryRun ? "The rules would remove" : "Removed"} {imagesOf(removed)}; {kept === 1 ? "1 tag stays" : `${kept} tags stay`}.{" "}
        <Moment at={endedOn} />
      </p>
      {failures.map((failure) => (
        <p key={failure} class="failure">
          {failure}
        </p>
      ))}
      {images.length > 0 ? (
        <Table
          rows={images}
          keyOf={({ repository, digest }) => repository + digest}
          columns={[
            { name: "Repository", cell: ({ repository }) => repository },
            { name: "Tags", cell: ({ tags }) => tags.join(", ") || <span class="quiet">none</span> },
            { name: "Digest", cell: ({ digest }) => <code title={digest}>{digest.slice(0, SHOWN_DIGEST)}</code> },
          ]}
        />
      ) : null}
      {removed > images.length ? (
        <p class="quiet">
          The first {images.length} of {removed}.
        </p>
      ) : null}
    </>
  );
}

/** `sha256:` and enough digits to distinguish images. */
const SHOWN_DIGEST = "sha256:".length + 12;

function imagesOf(images: number): string {
  return images === 1 ? "1 image" : `${images} images`;
}
