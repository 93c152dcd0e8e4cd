/** What is read of the API's entities: of a berth, and of a Datagrok server, which may leave things out. */
export type ImageOnWire = {
  id: string;
  name: string;
  status: string;
  version?: string | null;
  imageRef?: string | null;
  logs?: string | null;
  updatedOn?: string | null;
};

export type ContainerOnWire = {
  id: string;
  name: string;
  friendlyName?: string | null;
  status: string;
  dockerImage?: string | null;
  dockerfile?: ImageOnWire | null;
  serviceName?: string | null;
  desiredInstances?: number | null;
  address?: string | null;
  port?: number | null;
  lastActive?: string | null;
  lastLogs?: string | null;
  updatedOn?: string | null;
  config?: { on_demand?: boolean; shutdown_timeout?: number; cpu?: number; memory?: number } | null;
};

/** One move of a container or an image. */
export type MoveOnWire = {
  time: string;
  from: string;
  to: string;
  event: string;
  by: string;
  login?: string | null;
  cause: { code: string; message: string } | null;
};
