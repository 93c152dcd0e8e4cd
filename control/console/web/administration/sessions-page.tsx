import { SessionTable, type UserSessionRow } from "../accounts/sessions.tsx";
import { useAddressState, usePagedRows } from "../parts/paged-table.tsx";
import { sessionsPath } from "./user-page.tsx";

/** The sessions of all users. */
export function SessionsPage() {
  const sessions = usePagedRows<UserSessionRow>("/admin/sessions", useAddressState(), { everyMs: 30_000 });
  return (
    <>
      <h1>Sessions</h1>
      <p class="quiet">To end all sessions of one user, open the user's page.</p>
      <SessionTable
        rows={sessions}
        pathOf={({ login, id }) => `${sessionsPath(login)}/${encodeURIComponent(id)}`}
        ofAllUsers
        search="Search sessions"
      />
    </>
  );
}
