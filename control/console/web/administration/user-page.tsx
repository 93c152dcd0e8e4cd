import { useState } from "preact/hooks";
import { type DeveloperKeyRow, DeveloperKeyTable, NewKeyDialog } from "../accounts/developer-keys.tsx";
import { EndAllSessions, SessionTable, type UserSessionRow } from "../accounts/sessions.tsx";
import { request, type RequestState, useRequest } from "../api-client.ts";
import type { AccountJson, AuditEntry } from "../entities.ts";
import { linkTo } from "../location.ts";
import { Toggle } from "../parts/controls.tsx";
import { ConfirmDialog, FormDialog, TextField } from "../parts/dialog.tsx";
import { Facts, FailedPage, Failure, Loading, Moment, Section, Table } from "../parts/display.tsx";
import { useNotices } from "../parts/notices.tsx";
import { usePageTitle } from "../parts/page-title.ts";
import { useLocalState, usePagedRows } from "../parts/paged-table.tsx";
import { AUDIT_COLUMNS } from "./audit-log.tsx";
import { memberPath } from "./groups-page.tsx";

function userPath(login: string): string {
  return `/users/${encodeURIComponent(login)}`;
}

export function keysPath(login: string): string {
  return `${userPath(login)}/keys`;
}

export function sessionsPath(login: string): string {
  return `${userPath(login)}/sessions`;
}

export function rightsOf({ admin, blockedOn }: AccountJson): string {
  if (blockedOn !== null) return "blocked";
  return admin ? "administrator" : "user";
}

/** Everything about one user. `isOwn`: the signed-in administrator. */
export function UserPage({ login, isOwn }: { login: string; isOwn: boolean }) {
  const ofLogin = `?login=${encodeURIComponent(login)}`;
  const account = useRequest<AccountJson>(`/admin/users/${encodeURIComponent(login)}`);
  const keys = usePagedRows<DeveloperKeyRow>(`/admin/developer-keys${ofLogin}`, useLocalState());
  const sessions = usePagedRows<UserSessionRow>(`/admin/sessions${ofLogin}`, useLocalState());
  const [isCreating, setCreating] = useState(false);
  usePageTitle(login);
  const { value: user, error, reload } = account;
  if (!user)
    return error ? (
      <FailedPage title={login} list={{ title: "Users", href: linkTo("administration", "users") }} error={error} onRetry={reload} />
    ) : (
      <Loading />
    );
  return (
    <>
      <p class="trail">
        <a href={linkTo("administration", "users")}>Users</a> /
      </p>
      <div class="page-head">
        <h1>{login}</h1>
        <UserActions user={user} isOwn={isOwn} onChanged={reload} />
      </div>
      <Failure error={error} onRetry={reload} />
      <Facts
        facts={[
          ["Name", user.friendlyName],
          ["Rights", rightsOf(user)],
          ...(user.subject === null
            ? []
            : [[`Subject at ${user.provider ?? "the sign-in provider"}`, <code key="subject">{user.subject}</code>] as const]),
          ["Created", <Moment at={user.createdOn} />],
        ]}
      />
      <UserGroups state={account} user={user} />
      <Section title="Developer keys">
        <div class="tools">
          <button type="button" onClick={() => setCreating(true)}>
            Create key…
          </button>
        </div>
        <DeveloperKeyTable rows={keys} pathOf={({ id }) => `${keysPath(login)}/${encodeURIComponent(id)}`} />
      </Section>
      <Section title="Sessions">
        <div class="tools">
          <EndAllSessions login={login} isOwn={isOwn} path={sessionsPath(login)} onDone={sessions.reload} />
        </div>
        <SessionTable rows={sessions} pathOf={({ id }) => `${sessionsPath(login)}/${encodeURIComponent(id)}`} />
      </Section>
      <UserPackages login={login} />
      <UserChanges login={login} />
      {isCreating ? <NewKeyDialog login={login} pathOf={keysPath} onCreated={keys.reload} onClose={() => setCreating(false)} /> : null}
    </>
  );
}

/** berth keeps the first user, and no administrator removes themself. */
const FIRST_USER = "admin";

function UserActions({ user, isOwn, onChanged }: { user: AccountJson; isOwn: boolean; onChanged(): void }) {
  const [dialog, setDialog] = useState<"change" | "remove" | "block">();
  const notices = useNotices();
  const { login } = user;
  const close = () => setDialog(undefined);
  const remove = () => {
    close();
    request<{ packages: string[] }>(userPath(login), { method: "DELETE" }).then(({ packages }) => {
      notices.done(`${login} is removed.${packages.length === 0 ? "" : ` You are the author of ${packages.join(", ")} now.`}`);
      location.hash = linkTo("administration", "users");
    }, notices.failed);
  };
  const setBlocked = (isBlocked: boolean) => {
    close();
    request(`${userPath(login)}/block`, { method: isBlocked ? "PUT" : "DELETE" }).then(() => {
      notices.done(isBlocked ? `${login} is blocked. All sessions end within 10 s.` : `${login} is unblocked.`);
      onChanged();
    }, notices.failed);
  };
  return (
    <div class="tools">
      <button type="button" onClick={() => setDialog("change")}>
        Change…
      </button>
      {isOwn || login === FIRST_USER ? null : (
        <>
          {user.blockedOn === null ? (
            <button type="button" class="danger" onClick={() => setDialog("block")}>
              Block…
            </button>
          ) : (
            <button type="button" onClick={() => setBlocked(false)}>
              Unblock
            </button>
          )}
          <button type="button" class="danger" onClick={() => setDialog("remove")}>
            Remove…
          </button>
        </>
      )}
      {dialog === "block" ? (
        <ConfirmDialog title={`Block ${login}?`} verb="Block" onConfirm={() => setBlocked(true)} onClose={close}>
          <p>
            All sessions of {login} end, and no key of {login} is valid until you unblock the user. Packages and containers stay.
          </p>
        </ConfirmDialog>
      ) : null}
      {dialog === "change" ? (
        <ChangeUser
          user={user}
          onClose={close}
          onChanged={() => {
            close();
            onChanged();
          }}
        />
      ) : null}
      {dialog === "remove" ? (
        <ConfirmDialog title={`Remove ${login}?`} verb="Remove" onConfirm={remove} onClose={close}>
          <p>All keys and sessions of {login} end. The packages become yours, and their containers continue to run.</p>
        </ConfirmDialog>
      ) : null}
    </div>
  );
}

function ChangeUser({ user, onClose, onChanged }: { user: AccountJson; onClose(): void; onChanged(): void }) {
  const [name, setName] = useState(user.friendlyName);
  const [isAdmin, setAdmin] = useState(user.admin);
  const change = async () => {
    const body = JSON.stringify({ friendlyName: name.trim(), admin: isAdmin });
    await request(userPath(user.login), { method: "PATCH", headers: { "content-type": "application/json" }, body });
    onChanged();
  };
  return (
    <FormDialog title={`Change ${user.login}`} verb="Save" onSubmit={change} onClose={onClose}>
      <TextField label="Name" value={name} onChange={setName} maxLength={200} isRequired />
      {user.login === FIRST_USER ? null : <Toggle label="Administrator" value={isAdmin} onChange={setAdmin} />}
    </FormDialog>
  );
}

function UserGroups({ state: { reload }, user: { login, groups } }: { state: RequestState<AccountJson>; user: AccountJson }) {
  const [group, setGroup] = useState("");
  const notices = useNotices();
  const { value: allGroups } = useRequest<{ rows: { name: string }[] }>("/admin/groups?limit=200");
  const change = (method: "PUT" | "DELETE", name: string) =>
    request(memberPath(name, login), { method }).then(() => {
      if (method === "PUT") setGroup("");
      reload();
    }, notices.failed);
  return (
    <Section title="Groups">
      {groups.length === 0 ? <p class="quiet">No groups. Users of one group manage each other's packages.</p> : null}
      <ul class="chips">
        {groups.map((name) => (
          <li key={name}>
            <a href={linkTo("administration", "groups", name)}>{name}</a>
            <button type="button" class="plain" aria-label={`Remove from ${name}`} onClick={() => void change("DELETE", name)}>
              ×
            </button>
          </li>
        ))}
      </ul>
      <form
        class="tools one-line"
        onSubmit={(event) => {
          event.preventDefault();
          void change("PUT", group.trim());
        }}
      >
        <TextField
          label="Group"
          value={group}
          onChange={setGroup}
          maxLength={63}
          isRequired
          offers={(allGroups?.rows ?? []).map(({ name }) => name).filter((name) => !groups.includes(name))}
        />
        <button type="submit">Add to group</button>
      </form>
    </Section>
  );
}

/** A user has few packages; of more, the first ones by name are shown. */
const MOST_PACKAGES = 100;

type AuthoredPackage = { id: string; name: string; version: string; updatedOn: string };

function UserPackages({ login }: { login: string }) {
  const filter = encodeURIComponent(encodeURIComponent(`author = "${login}"`));
  const { value: packages, error, reload } = useRequest<AuthoredPackage[]>(`/public/v1/packages?text=${filter}&limit=${MOST_PACKAGES}&page=1`);
  return (
    <Section title="Packages">
      <Failure error={error} onRetry={reload} />
      {packages?.length === 0 ? <p class="quiet">No packages.</p> : null}
      {packages && packages.length > 0 ? (
        <Table
          rows={packages}
          keyOf={({ id }) => id}
          columns={[
            { name: "Package", cell: ({ name }) => <a href={linkTo("packages", name)}>{name}</a> },
            { name: "Version", cell: ({ version }) => version },
            { name: "Published", cell: ({ updatedOn }) => <Moment at={updatedOn} /> },
          ]}
        />
      ) : null}
      {packages?.length === MOST_PACKAGES ? <p class="quiet">The first {MOST_PACKAGES} by name.</p> : null}
    </Section>
  );
}

const CHANGE_COLUMNS = AUDIT_COLUMNS.filter(({ name }) => name !== "User");

function UserChanges({ login }: { login: string }) {
  const { value: entries, error, reload } = useRequest<AuditEntry[]>(`/admin/audit?limit=20&login=${encodeURIComponent(login)}`);
  return (
    <Section title="Recent changes">
      <Failure error={error} onRetry={reload} />
      {entries?.length === 0 ? <p class="quiet">No entries in the audit log.</p> : null}
      {entries && entries.length > 0 ? (
        <>
          <p>
            <a href={`${linkTo("administration", "audit")}?login=${encodeURIComponent(login)}`}>All entries in the audit log</a>
          </p>
          <Table kind="entries" rows={entries} keyOf={({ seq }) => String(seq)} columns={CHANGE_COLUMNS} />
        </>
      ) : null}
    </Section>
  );
}
