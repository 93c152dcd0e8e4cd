import { useState } from "preact/hooks";
import { type DeveloperKeyRow, DeveloperKeyTable, NewKeyDialog } from "../accounts/developer-keys.tsx";
import { useAddressState, usePagedRows } from "../parts/paged-table.tsx";
import { keysPath } from "./user-page.tsx";

/** The developer keys of all users. */
export function DeveloperKeysPage() {
  const keys = usePagedRows<DeveloperKeyRow>("/admin/developer-keys", useAddressState());
  const [isCreating, setCreating] = useState(false);
  return (
    <>
      <div class="page-head">
        <h1>Developer keys</h1>
        <div class="tools">
          <button type="button" class="primary" onClick={() => setCreating(true)}>
            Create key…
          </button>
        </div>
      </div>
      <DeveloperKeyTable rows={keys} pathOf={({ login, id }) => `${keysPath(login)}/${encodeURIComponent(id)}`} ofAllUsers search="Search keys" />
      {isCreating ? <NewKeyDialog login={undefined} pathOf={keysPath} onCreated={keys.reload} onClose={() => setCreating(false)} /> : null}
    </>
  );
}
