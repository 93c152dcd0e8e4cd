import type { ComponentChildren } from "preact";
import type { Container } from "../entities.ts";
import { Configuration } from "./configuration.tsx";
import { ContainerMetrics } from "./container-metrics.tsx";
import { ContainerOverview } from "./container-overview.tsx";
import { History } from "./history.tsx";
import { Logs } from "./logs.tsx";
import { RecentRequests } from "./recent-requests.tsx";
import { Shell } from "./shell.tsx";

export type ContainerTabProps = { container: Container };

export type ContainerTab = {
  /** In the address: `#/containers/<id>/<name>`. */
  name: string;
  title: string;
  /** Only for users who may manage the container. */
  managersOnly?: true;
  /** Only for users who may open a shell in the container. */
  needsShell?: true;
  page(props: ContainerTabProps): ComponentChildren;
};

/** The tabs of a container's page, in their order. The first one has no name in the address. */
export const CONTAINER_TABS: readonly ContainerTab[] = [
  { name: "overview", title: "Overview", page: ({ container }) => <ContainerOverview container={container} /> },
  { name: "logs", title: "Logs", managersOnly: true, page: ({ container }) => <Logs container={container} /> },
  { name: "metrics", title: "Metrics", managersOnly: true, page: ({ container: { id } }) => <ContainerMetrics id={id} /> },
  { name: "requests", title: "Requests", managersOnly: true, page: ({ container: { id } }) => <RecentRequests id={id} /> },
  { name: "shell", title: "Shell", needsShell: true, page: ({ container }) => <Shell container={container} /> },
  { name: "configuration", title: "Configuration", page: ({ container }) => <Configuration container={container} /> },
  {
    name: "history",
    title: "History",
    managersOnly: true,
    page: ({ container: { id, status } }) => <History path={`/docker/containers/${id}/history`} status={status} />,
  },
];
