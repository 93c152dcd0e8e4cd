import { useState } from "preact/hooks";
import { request } from "../api-client.ts";
import type { DeveloperKeysJson, NewDeveloperKeyJson } from "../entities.ts";
import { linkTo } from "../location.ts";
import { ConfirmDialog, FormDialog, SecretDialog, TextField } from "../parts/dialog.tsx";
import { type Column, Moment } from "../parts/display.tsx";
import { useNotices } from "../parts/notices.tsx";
import { PagedTable, type PagedRows } from "../parts/paged-table.tsx";

export type DeveloperKeyRow = DeveloperKeysJson["rows"][number];

type DeveloperKeyTableProps = {
  rows: PagedRows<DeveloperKeyRow>;
  /** The path of a key, for its revocation. */
  pathOf(key: DeveloperKeyRow): string;
  /** With the user of each key. */
  ofAllUsers?: boolean;
  search?: string;
};

/** Developer keys, without the keys themselves. */
export function DeveloperKeyTable({ rows, pathOf, ofAllUsers = false, search }: DeveloperKeyTableProps) {
  const [revoked, setRevoked] = useState<DeveloperKeyRow>();
  const notices = useNotices();
  const revoke = (key: DeveloperKeyRow) => {
    setRevoked(undefined);
    request(pathOf(key), { method: "DELETE" })
      .then(() => notices.done(`Key ${key.id} is revoked.`), notices.failed)
      .finally(rows.reload);
  };
  const user: Column<DeveloperKeyRow> = { name: "User", cell: ({ login }) => <a href={linkTo("administration", "users", login)}>{login}</a> };
  const columns: readonly Column<DeveloperKeyRow>[] = [
    {
      name: "Key",
      cell: ({ id, isCurrent }) => (
        <>
          <code>{id}</code> {isCurrent ? <small>in use here</small> : null}
        </>
      ),
    },
    ...(ofAllUsers ? [user] : []),
    { name: "Label", cell: ({ label, fromSetting }) => (fromSetting ? <span class="quiet">from the settings</span> : label || "–") },
    { name: "Created", cell: ({ createdOn }) => <Moment at={createdOn} /> },
    { name: "Last used", cell: ({ lastUsedOn }) => (lastUsedOn === null ? <span class="quiet">–</span> : <Moment at={lastUsedOn} />) },
    { name: "Sessions", isNumber: true, cell: ({ sessions }) => sessions },
    {
      name: "Actions",
      isAction: true,
      cell: (key) =>
        key.fromSetting ? null : (
          <button type="button" class="danger" onClick={() => setRevoked(key)}>
            Revoke…<span class="unseen"> {key.id}</span>
          </button>
        ),
    },
  ];
  return (
    <>
      <PagedTable
        rows={rows}
        columns={columns}
        keyOf={({ login, id }) => `${login} ${id}`}
        empty="No keys. Create one to sign in and publish."
        {...(search === undefined ? {} : { search })}
      />
      {revoked ? (
        <ConfirmDialog title={`Revoke key ${revoked.id}?`} verb="Revoke" onConfirm={() => revoke(revoked)} onClose={() => setRevoked(undefined)}>
          <p>
            {revoked.label === "" ? "The key" : `The key “${revoked.label}”`} of {revoked.login} becomes invalid. {sessionsEnd(revoked)}
          </p>
        </ConfirmDialog>
      ) : null}
    </>
  );
}

function sessionsEnd({ sessions, isCurrent }: DeveloperKeyRow): string {
  if (isCurrent) return "It opened your session here: you are signed out.";
  return sessions === 0 ? "It has no open sessions." : `Its ${sessions === 1 ? "session ends" : `${sessions} sessions end`} within 10 seconds.`;
}

type NewKeyProps = {
  /** Undefined: the form asks for the user. */
  login: string | undefined;
  /** The path that creates a key of a user. */
  pathOf(login: string): string;
  onCreated(): void;
  onClose(): void;
};

/** Creates a key and shows it once: neither the server nor the console can show it again. */
export function NewKeyDialog({ login: ofUser, pathOf, onCreated, onClose }: NewKeyProps) {
  const [login, setLogin] = useState(ofUser ?? "");
  const [label, setLabel] = useState("");
  const [created, setCreated] = useState<NewDeveloperKeyJson>();
  if (created) return <CreatedKey created={created} onClose={onClose} />;
  const create = async () => {
    const body = JSON.stringify({ label: label.trim() });
    setCreated(await request(pathOf(login.trim()), { method: "POST", headers: { "content-type": "application/json" }, body }));
    onCreated();
  };
  return (
    <FormDialog title={ofUser === undefined ? "Create a key" : `Create a key of ${ofUser}`} verb="Create" onSubmit={create} onClose={onClose}>
      {ofUser === undefined ? <TextField label="User" value={login} onChange={setLogin} isRequired /> : null}
      <TextField
        label="Label"
        value={label}
        onChange={setLabel}
        maxLength={100}
        hint="What the key is for, for example “laptop” or “build server”."
      />
    </FormDialog>
  );
}

function CreatedKey({ created: { id, key }, onClose }: { created: NewDeveloperKeyJson; onClose(): void }) {
  return (
    <SecretDialog title={`Key ${id}`} label="Developer key" secret={key} onClose={onClose}>
      <p>Copy the key now. berth keeps only its digest and cannot show it again.</p>
    </SecretDialog>
  );
}
