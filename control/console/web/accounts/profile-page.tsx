import { useState } from "preact/hooks";
import { useRequest } from "../api-client.ts";
import type { OwnUserJson } from "../entities.ts";
import { Facts, Failure, Moment, Section } from "../parts/display.tsx";
import { usePageTitle } from "../parts/page-title.ts";
import { useLocalState, usePagedRows } from "../parts/paged-table.tsx";
import { type DeveloperKeyRow, DeveloperKeyTable, NewKeyDialog } from "./developer-keys.tsx";
import { EndAllSessions, SessionTable, type UserSessionRow } from "./sessions.tsx";

const KEYS = "/users/current/keys";
const SESSIONS = "/users/current/sessions";

/** The user's own account. */
export function ProfilePage() {
  const { value: user, error, reload } = useRequest<OwnUserJson>("/users/current");
  const keys = usePagedRows<DeveloperKeyRow>(KEYS, useLocalState());
  const sessions = usePagedRows<UserSessionRow>(SESSIONS, useLocalState());
  const [isCreating, setCreating] = useState(false);
  usePageTitle("Profile");
  return (
    <>
      <h1>Profile</h1>
      <Failure error={error} onRetry={reload} />
      {user ? (
        <Facts
          facts={[
            ["Login", user.login],
            ["Name", user.friendlyName],
            ["Rights", user.admin ? "administrator" : "user"],
            ["Groups", user.groups.join(", ") || "none"],
            ["Created", <Moment at={user.createdOn} />],
          ]}
        />
      ) : null}
      <Section title="Developer keys">
        <div class="tools">
          <button type="button" onClick={() => setCreating(true)}>
            Create key…
          </button>
        </div>
        <DeveloperKeyTable rows={keys} pathOf={({ id }) => `${KEYS}/${encodeURIComponent(id)}`} />
      </Section>
      <Section title="Sessions">
        <div class="tools">
          <EndAllSessions login={user?.login ?? ""} isOwn path={SESSIONS} onDone={sessions.reload} />
        </div>
        <SessionTable rows={sessions} pathOf={({ id }) => `${SESSIONS}/${encodeURIComponent(id)}`} />
      </Section>
      {isCreating ? <NewKeyDialog login={user?.login ?? ""} pathOf={() => KEYS} onCreated={keys.reload} onClose={() => setCreating(false)} /> : null}
    </>
  );
}
