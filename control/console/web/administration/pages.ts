import type { ComponentType } from "preact";
import type { AdminPageProps } from "../parts/loaded-page.tsx";

export type AdminPageEntry = {
  /** In the address: `#/administration/<name>`. */
  name: string;
  title: string;
  group: "Server" | "Access";
  /** Each page is a chunk of its own: the first page of the console does not load it. */
  load(): Promise<ComponentType<AdminPageProps>>;
};

/** The pages of administrators, in the order of the navigation. The first one has no name in the address. */
export const ADMIN_PAGES: readonly AdminPageEntry[] = [
  { name: "server", title: "Server", group: "Server", load: async () => (await import("./server-page.tsx")).ServerPage },
  { name: "audit", title: "Audit log", group: "Server", load: async () => (await import("./audit-log.tsx")).AuditLogPage },
  { name: "settings", title: "Settings", group: "Server", load: async () => (await import("./settings.tsx")).SettingsPage },
  { name: "orphans", title: "Orphans", group: "Server", load: async () => (await import("./orphans.tsx")).OrphansPage },
  {
    name: "registry",
    title: "Registry storage",
    group: "Server",
    load: async () => (await import("./registry-storage.tsx")).RegistryStoragePage,
  },
  { name: "webhooks", title: "Webhooks", group: "Server", load: async () => (await import("./webhooks-page.tsx")).WebhooksPage },
  {
    name: "control",
    title: "Processes",
    group: "Server",
    load: async () => (await import("./control-processes.tsx")).ControlProcessesPage,
  },
  { name: "users", title: "Users", group: "Access", load: async () => (await import("./users-page.tsx")).UsersPage },
  { name: "groups", title: "Groups", group: "Access", load: async () => (await import("./groups-page.tsx")).GroupsPage },
  { name: "keys", title: "Developer keys", group: "Access", load: async () => (await import("./developer-keys-page.tsx")).DeveloperKeysPage },
  { name: "sessions", title: "Sessions", group: "Access", load: async () => (await import("./sessions-page.tsx")).SessionsPage },
  { name: "credentials", title: "Credentials", group: "Access", load: async () => (await import("./credentials-page.tsx")).CredentialsPage },
  {
    name: "trusted-publishers",
    title: "Trusted publishers",
    group: "Access",
    load: async () => (await import("./trusted-publishers-page.tsx")).TrustedPublishersPage,
  },
  { name: "signing-keys", title: "Signing keys", group: "Access", load: async () => (await import("./signing-keys-page.tsx")).SigningKeysPage },
];
