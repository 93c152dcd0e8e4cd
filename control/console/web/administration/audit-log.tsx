import { useRef, useState } from "preact/hooks";
import type { AuditAction } from "../../../model/audit-actions.ts";
import { useRequest } from "../api-client.ts";
import type { AuditEntry } from "../entities.ts";
import { linkTo, useConsoleQuery } from "../location.ts";
import { type Column, ExactTime, Failure, Loading, Table } from "../parts/display.tsx";
import { LabelledInput } from "../parts/fields.tsx";

/** What each action is called here. */
const ACTIONS: Readonly<Record<AuditAction, string>> = {
  signedIn: "Signed in",
  signedOut: "Signed out",
  containerStarted: "Started container",
  containerStopped: "Stopped container",
  containerRestarted: "Restarted container",
  warmUpChosen: "Chose warm hours",
  shellOpened: "Opened a shell",
  shellClosed: "Closed a shell",
  containerSaved: "Changed container",
  containerDeleted: "Removed container",
  imageRevalidated: "Revalidated image",
  packagePublished: "Published package",
  packageRolledBack: "Rolled back package",
  packageUnpublished: "Unpublished package",
  imagePushed: "Pushed image",
  imageDeleted: "Deleted image",
  garbageCollected: "Collected garbage",
  imagesRetained: "Applied retention rules",
  repositoryAssigned: "Assigned repository",
  userAdded: "Added user",
  userChanged: "Changed user",
  userRemoved: "Removed user",
  userBlocked: "Blocked user",
  userUnblocked: "Unblocked user",
  userLinked: "Linked user to the sign-in provider",
  userUnlinked: "Unlinked user from the sign-in provider",
  memberAdded: "Added to a group",
  memberRemoved: "Removed from a group",
  sessionEnded: "Ended session",
  keyMade: "Created key",
  jobSignedIn: "CI job signed in",
  trustedPublisherAdded: "Added trusted publisher",
  trustedPublisherRemoved: "Removed trusted publisher",
  keyRevoked: "Revoked key",
  credentialsReplaced: "Replaced credentials",
  credentialsSet: "Set credentials",
  credentialsRemoved: "Removed credentials",
  credentialsKeyRotated: "Rotated credentials key",
  signingKeyRotated: "Rotated signing key",
  signingKeyRevoked: "Revoked signing key",
  webhookAdded: "Added webhook",
  webhookRemoved: "Removed webhook",
  webhookResumed: "Resumed webhook",
  webhookTested: "Tested webhook",
  webhookRedelivered: "Sent an event again",
  orphanRemoved: "Removed orphan",
  imported: "Imported from a server",
  steppedDown: "Let another control process lead",
};

const PAGE = 50;
/** In the address, as the API takes them. */
const FILTERS = ["login", "action", "target", "from", "to"] as const;

/** Who did what, the newest first. The server filters and pages. */
export function AuditLogPage() {
  const query = useConsoleQuery();
  /** The first `seq` behind each page before this one. */
  const [pages, setPages] = useState<readonly string[]>([]);
  const [before] = pages.slice(-1);
  const filter = new URLSearchParams(FILTERS.flatMap((name) => (query.value(name) === "" ? [] : [[name, wireValue(name, query.value(name))]])));
  // One more than a page shows whether there is an older page.
  const path = `/admin/audit?${new URLSearchParams([...filter, ["limit", String(PAGE + 1)], ...(before === undefined ? [] : [["before", before]])])}`;
  const { value, error, reload } = useRequest<AuditEntry[]>(path);
  // The rows before stay until the next ones are here.
  const latest = useRef<AuditEntry[]>(undefined);
  latest.current = value ?? latest.current;
  const entries = latest.current;
  const shown = entries?.slice(0, PAGE);
  const last = shown?.at(-1);
  const set = (name: (typeof FILTERS)[number]) => (value: string) => {
    setPages([]);
    query.set({ [name]: value });
  };
  return (
    <>
      <div class="page-head">
        <h1>Audit log</h1>
        <button type="button" onClick={() => (setPages([]), reload())}>
          Reload
        </button>
      </div>
      <div class="tools fields">
        <LabelledInput label="User" value={query.value("login")} onChange={set("login")} />
        <label class="field">
          Action
          <select value={query.value("action")} onChange={(event) => set("action")(event.currentTarget.value)}>
            <option value="">All actions</option>
            {Object.entries(ACTIONS).map(([action, title]) => (
              <option key={action} value={action}>
                {title}
              </option>
            ))}
          </select>
        </label>
        <LabelledInput label="Target contains" value={query.value("target")} onChange={set("target")} />
        <LabelledInput label="From" type="datetime-local" value={query.value("from")} onChange={set("from")} />
        <LabelledInput label="Before" type="datetime-local" value={query.value("to")} onChange={set("to")} />
      </div>
      <Failure error={error} onRetry={reload} />
      {shown === undefined ? (
        error ? null : (
          <Loading />
        )
      ) : (
        <Table kind="entries" columns={AUDIT_COLUMNS} rows={shown} keyOf={({ seq }) => String(seq)} />
      )}
      {shown?.length === 0 ? (
        <p class="quiet">{filter.size === 0 ? "Nothing is recorded yet." : "No entry matches. Change the filter or the times."}</p>
      ) : null}
      <div class="tools">
        <button type="button" disabled={pages.length === 0} onClick={() => setPages(pages.slice(0, -1))}>
          Newer
        </button>
        <button
          type="button"
          disabled={(entries?.length ?? 0) <= PAGE || last === undefined}
          onClick={() => last && setPages([...pages, String(last.seq)])}
        >
          Older
        </button>
      </div>
    </>
  );
}

/** A time of the form has no zone: it is the browser's. */
function wireValue(name: (typeof FILTERS)[number], value: string): string {
  if (name !== "from" && name !== "to") return value;
  const time = new Date(value);
  return Number.isNaN(time.getTime()) ? value : time.toISOString();
}

export const AUDIT_COLUMNS: readonly Column<AuditEntry>[] = [
  { name: "Time", cell: ({ time }) => <ExactTime at={time} /> },
  {
    name: "User",
    cell: ({ login, via }) => <div class="short-name">{login ?? <span class="quiet">{via ?? "unknown"}</span>}</div>,
  },
  { name: "Action", cell: ({ action }) => ACTIONS[action as AuditAction] ?? action },
  { name: "Target", cell: ({ action, target }) => <AuditTarget action={action} target={target} /> },
  { name: "Response", cell: ({ status, address }) => <AuditStatus status={status} isOfClient={address !== null} /> },
  {
    name: "Client",
    cell: ({ address, via, requestId }) => (
      <span title={requestId === null ? undefined : `request ${requestId}`}>
        {address ?? "this machine"} <small>{via === null ? null : (CREDENTIALS[via] ?? via)}</small>
      </span>
    ),
  },
];

/** What each kind of credential is called here; a CI job is named as it is. */
const CREDENTIALS: Readonly<Record<string, string>> = {
  devKey: "developer key",
  key: "session",
  authorization: "session",
  cookie: "browser",
  oidc: "sign-in provider",
};

/** What berth did by itself has no response. */
function AuditStatus({ status, isOfClient }: { status: number | null; isOfClient: boolean }) {
  if (status === null) return <span class="quiet">{isOfClient ? "client left" : "–"}</span>;
  return status < 400 ? <>{status}</> : <span class="bad-text">{status}</span>;
}

/** Behind the id of a container, an entry about a shell has its command. */
const WITH_ID = /^(.*?) \(([\da-f-]{36})\)(: .*)?$/s;
const STORED_IMAGE = /^([^:@]+)[:@]/;

/** Leads to what was changed, where the console has a page of it. */
function AuditTarget({ action, target }: Pick<AuditEntry, "action" | "target">) {
  if (target === null) return <span class="quiet">–</span>;
  const [, name = target, id, command = ""] = WITH_ID.exec(target) ?? [];
  if (id !== undefined && action !== "containerDeleted")
    return (
      <>
        <a href={action.startsWith("image") ? linkTo("images", id) : linkTo("containers", id, "history")}>{name}</a>
        {command}
      </>
    );
  if (action === "imagePushed" || action === "imageDeleted") {
    const [, repository] = STORED_IMAGE.exec(target) ?? [];
    if (repository !== undefined) return <a href={linkTo("registry", repository)}>{target}</a>;
  }
  if (action.startsWith("package")) return <a href={linkTo("packages", target)}>{target}</a>;
  return <span title={target}>{name}</span>;
}
