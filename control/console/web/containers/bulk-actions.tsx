import { useRef, useState } from "preact/hooks";
import { request } from "../api-client.ts";
import type { ContainerRow, ContainerRowPage } from "../entities.ts";
import { ConfirmDialog } from "../parts/dialog.tsx";
import { useNotices } from "../parts/notices.tsx";
import { requestAction } from "./container-actions.tsx";

type BulkVerb = "start" | "stop" | "remove";

const VERBS: Record<BulkVerb, { progress: string; done: string }> = {
  start: { progress: "Starting", done: "Requested the start of" },
  stop: { progress: "Stopping", done: "Requested the stop of" },
  remove: { progress: "Removing", done: "Removed" },
};

/** Requests at a time: berth takes turns between users anyway. */
const CONCURRENT = 4;
/** As the API allows at most. */
const PAGE = 200;

type BulkProps = {
  selected: ReadonlyMap<string, ContainerRow>;
  /** The query of the rows that are listed, without their order. */
  filter: string;
  total: number;
  onSelect(selected: ReadonlyMap<string, ContainerRow>): void;
  onDone(): void;
};

/** Starts, stops or removes all selected containers, with progress. */
export function BulkActions({ selected, filter, total, onSelect, onDone }: BulkProps) {
  const [progress, setProgress] = useState<{ verb: BulkVerb; done: number; all: number }>();
  const [isRemoving, setRemoving] = useState(false);
  const stop = useRef(new AbortController());
  const notices = useNotices();
  if (selected.size === 0) return null;

  const run = async (verb: BulkVerb) => {
    setRemoving(false);
    stop.current = new AbortController();
    const waiting = [...selected.keys()];
    const all = waiting.length;
    const failures: Error[] = [];
    let done = 0;
    setProgress({ verb, done, all });
    const work = async () => {
      for (let id = waiting.shift(); id !== undefined && !stop.current.signal.aborted; id = waiting.shift()) {
        await (verb === "remove" ? request(`/docker/containers/${id}`, { method: "DELETE" }) : requestAction(id, verb)).catch((error: Error) =>
          failures.push(error),
        );
        setProgress({ verb, done: ++done, all });
      }
    };
    await Promise.all(Array.from({ length: CONCURRENT }, work));
    setProgress(undefined);
    onSelect(new Map());
    onDone();
    const succeeded = done - failures.length;
    if (succeeded > 0) notices.done(`${VERBS[verb].done} ${countOf(succeeded)}.`);
    const [first] = failures;
    if (first) notices.failed(failures.length === 1 ? first : new Error(`${countOf(failures.length)} failed: ${first.message}`));
  };
  const selectAll = async () => {
    const rows = new Map<string, ContainerRow>();
    for (let offset = 0; offset < total; offset += PAGE) {
      const page = await request<ContainerRowPage>(`/docker/containers/rows?${filter}${filter === "" ? "" : "&"}offset=${offset}&limit=${PAGE}`);
      for (const row of page.rows) if (row.mayManage) rows.set(row.id, row);
    }
    onSelect(rows);
  };
  if (progress) {
    return (
      <div class="tools bulk" role="status">
        <span>
          {VERBS[progress.verb].progress} {progress.done} of {progress.all}
        </span>
        <progress value={progress.done} max={progress.all} aria-label={VERBS[progress.verb].progress} />
        <button type="button" onClick={() => stop.current.abort()}>
          Cancel
        </button>
      </div>
    );
  }
  return (
    <div class="tools bulk">
      <strong>{selected.size} selected</strong>
      <button type="button" onClick={() => void run("start")}>
        Start
      </button>
      <button type="button" onClick={() => void run("stop")}>
        Stop
      </button>
      <button type="button" class="danger" onClick={() => setRemoving(true)}>
        Remove…
      </button>
      {selected.size < total ? (
        <button type="button" onClick={() => void selectAll().catch(notices.failed)}>
          Select all {total}
        </button>
      ) : null}
      <button type="button" onClick={() => onSelect(new Map())}>
        Clear
      </button>
      {isRemoving ? (
        <ConfirmDialog
          title={`Remove ${countOf(selected.size)}?`}
          verb="Remove"
          onConfirm={() => void run("remove")}
          onClose={() => setRemoving(false)}
        >
          <p>berth stops the containers and deletes them with their history and logs. They return when their packages are published again.</p>
        </ConfirmDialog>
      ) : null}
    </div>
  );
}

function countOf(count: number): string {
  return count === 1 ? "1 container" : `${count} containers`;
}
