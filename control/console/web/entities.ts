// The entities of the API, from its own schemas. Vite removes type imports, so nothing of the server is in the bundle.
export type { ConsoleSection } from "../../api/schemas.ts";
export type {
  AuditEntryJson as AuditEntry,
  ContainerEntity as Container,
  ControlProcessesJson as ControlProcesses,
  EffectiveSettingJson as EffectiveSetting,
  ExplanationJson as Explanation,
  GarbageJson as Garbage,
  RetentionJson as Retention,
  RetentionRunJson as RetentionRun,
  HistoryEntryJson as HistoryEntry,
  ImageEntity as Image,
  OpenRequestsJson as OpenRequests,
  OrphanJson as Orphan,
  PackageEntity as Package,
  PackageVersionJson as PackageVersion,
  PackageVersionsJson as PackageVersions,
  RepositoryJson as Repository,
  ServerOverviewJson as ServerOverview,
  SigningKeyJson,
  TaggedImageJson as TaggedImage,
  UserJson as User,
  WakeJson as Wake,
  WrittenDefinitionJson as WrittenDefinition,
} from "../../api/schemas.ts";
export type {
  AccountJson,
  CredentialPackagesJson,
  DeveloperKeysJson,
  TrustedPublisherJson,
  GroupRowsJson,
  NewDeveloperKeyJson,
  OwnUserJson,
  SessionRowsJson,
} from "../../api/schemas-accounts.ts";
export type { NewWebhookJson, WebhookDeliveryJson, WebhookJson } from "../../api/schemas-webhooks.ts";
export type { ContainerPageJson as ContainerRowPage, ContainerRowJson as ContainerRow } from "../../api/row-schemas.ts";
