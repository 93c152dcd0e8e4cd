import { useState } from "preact/hooks";
import { request } from "../api-client.ts";
import type { AccountJson } from "../entities.ts";
import { linkTo } from "../location.ts";
import { FormDialog, TextField } from "../parts/dialog.tsx";
import { type Column, Moment } from "../parts/display.tsx";
import { Toggle } from "../parts/controls.tsx";
import type { AdminPageProps } from "../parts/loaded-page.tsx";
import { PagedTable, useAddressState, usePagedRows } from "../parts/paged-table.tsx";
import { rightsOf, UserPage } from "./user-page.tsx";

const COLUMNS: readonly Column<AccountJson>[] = [
  { name: "Login", cell: ({ login }) => <a href={linkTo("administration", "users", login)}>{login}</a> },
  { name: "Name", cell: ({ friendlyName }) => friendlyName },
  { name: "Rights", cell: (user) => rightsOf(user) },
  { name: "Groups", cell: ({ groups }) => <GroupLinks groups={groups} /> },
  { name: "Keys", isNumber: true, cell: ({ keys }) => keys },
  { name: "Created", cell: ({ createdOn }) => <Moment at={createdOn} /> },
];

/** All users, or the page of one. */
export function UsersPage({ rest: [login], user }: AdminPageProps) {
  return login === undefined ? <UserList /> : <UserPage key={login} login={login} isOwn={login === user.login} />;
}

function UserList() {
  const users = usePagedRows<AccountJson>("/admin/users", useAddressState());
  const [isAdding, setAdding] = useState(false);
  return (
    <>
      <div class="page-head">
        <h1>Users</h1>
        <div class="tools">
          <button type="button" class="primary" onClick={() => setAdding(true)}>
            Add user…
          </button>
        </div>
      </div>
      <PagedTable rows={users} columns={COLUMNS} keyOf={({ id }) => id} empty="No users." search="Search users" />
      {isAdding ? <AddUser onClose={() => setAdding(false)} /> : null}
    </>
  );
}

function GroupLinks({ groups }: { groups: readonly string[] }) {
  if (groups.length === 0) return <span class="quiet">none</span>;
  return (
    <span class="links">
      {groups.map((name) => (
        <a key={name} href={linkTo("administration", "groups", name)}>
          {name}
        </a>
      ))}
    </span>
  );
}

/** A user without a key: the user's page, which follows, creates one. */
function AddUser({ onClose }: { onClose(): void }) {
  const [login, setLogin] = useState("");
  const [name, setName] = useState("");
  const [isAdmin, setAdmin] = useState(false);
  const add = async () => {
    const friendlyName = name.trim();
    const body = JSON.stringify({ login: login.trim(), admin: isAdmin, ...(friendlyName === "" ? {} : { friendlyName }) });
    await request("/users", { method: "POST", headers: { "content-type": "application/json" }, body });
    location.hash = linkTo("administration", "users", login.trim());
  };
  return (
    <FormDialog title="Add a user" verb="Add" onSubmit={add} onClose={onClose}>
      <TextField label="Login" value={login} onChange={setLogin} maxLength={63} isRequired hint="Letters, digits, dots, dashes and underscores." />
      <TextField label="Name" value={name} onChange={setName} maxLength={200} />
      <Toggle label="Administrator" value={isAdmin} onChange={setAdmin} />
    </FormDialog>
  );
}
