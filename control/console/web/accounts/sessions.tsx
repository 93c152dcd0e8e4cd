import { useState } from "preact/hooks";
import { request } from "../api-client.ts";
import type { SessionRowsJson } from "../entities.ts";
import { linkTo } from "../location.ts";
import { Action } from "../parts/controls.tsx";
import { ConfirmDialog } from "../parts/dialog.tsx";
import { type Column, Moment } from "../parts/display.tsx";
import { useNotices } from "../parts/notices.tsx";
import { PagedTable, type PagedRows } from "../parts/paged-table.tsx";

export type UserSessionRow = SessionRowsJson["rows"][number];

const USES: Record<UserSessionRow["use"], string> = {
  console: "Console",
  administration: "Command line",
  page: "Container page",
  plain: "API",
};

type SessionTableProps = {
  rows: PagedRows<UserSessionRow>;
  /** The path of a session, for its end. */
  pathOf(session: UserSessionRow): string;
  /** With the user of each session. */
  ofAllUsers?: boolean;
  search?: string;
};

export function SessionTable({ rows, pathOf, ofAllUsers = false, search }: SessionTableProps) {
  const notices = useNotices();
  const end = (session: UserSessionRow) =>
    request(pathOf(session), { method: "DELETE" })
      .then(() => notices.done(`The session of ${session.login} ends within 10 seconds.`))
      .finally(rows.reload);
  const user: Column<UserSessionRow> = { name: "User", cell: ({ login }) => <a href={linkTo("administration", "users", login)}>{login}</a> };
  const columns: readonly Column<UserSessionRow>[] = [
    ...(ofAllUsers ? [user] : []),
    { name: "Use", cell: ({ use }) => USES[use] },
    { name: "Opened", cell: ({ createdOn }) => (createdOn === null ? <span class="quiet">unknown</span> : <Moment at={createdOn} />) },
    { name: "Address", cell: ({ address }) => (address === null ? <span class="quiet">unknown</span> : <code>{address}</code>) },
    {
      name: "Key",
      cell: ({ key }) =>
        key === null ? (
          <span class="quiet">none</span>
        ) : (
          <>
            <code>{key.id}</code> {key.label}
          </>
        ),
    },
    { name: "Ends", cell: ({ expiresOn }) => <Moment at={expiresOn} /> },
    {
      name: "Actions",
      isAction: true,
      cell: (session) =>
        session.isCurrent ? (
          <small>this session</small>
        ) : (
          <Action act={() => end(session)}>
            End<span class="unseen"> session {session.id}</span>
          </Action>
        ),
    },
  ];
  return (
    <PagedTable
      rows={rows}
      columns={columns}
      keyOf={({ login, id }) => `${login} ${id}`}
      empty="No sessions."
      {...(search === undefined ? {} : { search })}
    />
  );
}

/** Ends all sessions of a user, except the one of this browser. */
export function EndAllSessions({ login, isOwn, path, onDone }: { login: string; isOwn: boolean; path: string; onDone(): void }) {
  const [isConfirming, setConfirming] = useState(false);
  const notices = useNotices();
  const end = () => {
    setConfirming(false);
    request<{ ended: number }>(path, { method: "DELETE" })
      .then(
        ({ ended }) => notices.done(ended === 1 ? "1 session ends within 10 seconds." : `${ended} sessions end within 10 seconds.`),
        notices.failed,
      )
      .finally(onDone);
  };
  return (
    <>
      <button type="button" class="danger" onClick={() => setConfirming(true)}>
        {isOwn ? "End all others…" : "End all…"}
      </button>
      {isConfirming ? (
        <ConfirmDialog
          title={isOwn ? "End all your other sessions?" : `End all sessions of ${login}?`}
          verb="End"
          onConfirm={end}
          onClose={() => setConfirming(false)}
        >
          <p>
            {isOwn ? "You stay signed in here." : `${login} can sign in again with a developer key.`} Containers that were started with these sessions
            lose their token until a user starts them again.
          </p>
        </ConfirmDialog>
      ) : null}
    </>
  );
}
