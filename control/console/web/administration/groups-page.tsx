import { useState } from "preact/hooks";
import { request } from "../api-client.ts";
import type { AccountJson, GroupRowsJson } from "../entities.ts";
import { linkTo } from "../location.ts";
import { Action } from "../parts/controls.tsx";
import { FormDialog, TextField } from "../parts/dialog.tsx";
import type { Column } from "../parts/display.tsx";
import type { AdminPageProps } from "../parts/loaded-page.tsx";
import { useNotices } from "../parts/notices.tsx";
import { usePageTitle } from "../parts/page-title.ts";
import { PagedTable, useAddressState, usePagedRows } from "../parts/paged-table.tsx";

type GroupRow = GroupRowsJson["rows"][number];

export function memberPath(group: string, login: string): string {
  return `/admin/groups/${encodeURIComponent(group)}/members/${encodeURIComponent(login)}`;
}

const COLUMNS: readonly Column<GroupRow>[] = [
  { name: "Group", cell: ({ name }) => <a href={linkTo("administration", "groups", name)}>{name}</a> },
  { name: "Members", isNumber: true, cell: ({ members }) => members },
];

/** All groups, or the page of one. */
export function GroupsPage({ rest: [name] }: AdminPageProps) {
  return name === undefined ? <GroupList /> : <GroupPage key={name} name={name} />;
}

function GroupList() {
  const groups = usePagedRows<GroupRow>("/admin/groups", useAddressState());
  const [isAdding, setAdding] = useState(false);
  return (
    <>
      <div class="page-head">
        <h1>Groups</h1>
        <div class="tools">
          <button type="button" class="primary" onClick={() => setAdding(true)}>
            Add group…
          </button>
        </div>
      </div>
      <p class="quiet">Users of one group manage each other's packages. A group exists while it has members.</p>
      <PagedTable
        rows={groups}
        columns={COLUMNS}
        keyOf={({ name }) => name}
        empty="No groups. Add one with its first member."
        search="Search groups"
      />
      {isAdding ? (
        <AddMember
          group={undefined}
          onClose={() => setAdding(false)}
          onAdded={(name) => (location.hash = linkTo("administration", "groups", name))}
        />
      ) : null}
    </>
  );
}

function GroupPage({ name }: { name: string }) {
  const members = usePagedRows<AccountJson>(`/admin/users?group=${encodeURIComponent(name)}`, useAddressState());
  const [isAdding, setAdding] = useState(false);
  const notices = useNotices();
  usePageTitle(name);
  const remove = (login: string) =>
    request(memberPath(name, login), { method: "DELETE" })
      .then(() => notices.done(`${login} is no longer in ${name}.`))
      .finally(members.reload);
  const columns: readonly Column<AccountJson>[] = [
    { name: "Member", cell: ({ login }) => <a href={linkTo("administration", "users", login)}>{login}</a> },
    { name: "Name", cell: ({ friendlyName }) => friendlyName },
    {
      name: "Actions",
      isAction: true,
      cell: ({ login }) => (
        <Action act={() => remove(login)}>
          Remove<span class="unseen"> {login}</span>
        </Action>
      ),
    },
  ];
  return (
    <>
      <p class="trail">
        <a href={linkTo("administration", "groups")}>Groups</a> /
      </p>
      <div class="page-head">
        <h1>{name}</h1>
        <div class="tools">
          <button type="button" class="primary" onClick={() => setAdding(true)}>
            Add member…
          </button>
        </div>
      </div>
      <PagedTable
        rows={members}
        columns={columns}
        keyOf={({ id }) => id}
        empty="No members: the group does not exist any more."
        search="Search members"
      />
      {isAdding ? (
        <AddMember
          group={name}
          onClose={() => setAdding(false)}
          onAdded={() => {
            setAdding(false);
            members.reload();
          }}
        />
      ) : null}
    </>
  );
}

/** `group`: undefined for a new one. */
function AddMember({ group, onClose, onAdded }: { group: string | undefined; onClose(): void; onAdded(group: string): void }) {
  const [name, setName] = useState(group ?? "");
  const [login, setLogin] = useState("");
  const add = async () => {
    await request(memberPath(name.trim(), login.trim()), { method: "PUT" });
    onAdded(name.trim());
  };
  return (
    <FormDialog title={group === undefined ? "Add a group" : `Add a member to ${group}`} verb="Add" onSubmit={add} onClose={onClose}>
      {group === undefined ? (
        <TextField label="Group" value={name} onChange={setName} maxLength={63} isRequired hint="Letters, digits, dots, dashes and underscores." />
      ) : null}
      <TextField label={group === undefined ? "First member" : "Login"} value={login} onChange={setLogin} maxLength={63} isRequired />
    </FormDialog>
  );
}
