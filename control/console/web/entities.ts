/** What the API answers with, as far as the console shows it; /api/openapi.json describes all of it. */

export type Image = {
  id: string;
  name: string;
  friendlyName: string;
  status: string;
  version: string;
  dockerfilePath: string;
  imageRef: string;
  logs: string;
  createdOn: string;
  updatedOn: string;
};

export type Container = {
  id: string;
  name: string;
  friendlyName: string;
  status: string;
  serviceName: string;
  dockerImage: string;
  dockerfile: Image;
  address: string | null;
  port: number | null;
  lastLogs: string;
  lastActive: string | null;
  environmentVars: Record<string, string>;
  config: Record<string, unknown>;
  createdOn: string;
  updatedOn: string;
};

export type Room = "containers" | "images" | "registry" | "stand";

export type User = { id: string; login: string; friendlyName: string; admin: boolean };

/** One move of a container or an image. */
export type Move = {
  time: string;
  from: string;
  to: string;
  event: string;
  by: string;
  login: string | null;
  cause: { code: string; message: string } | null;
};

export type Repository = { name: string; containers: number };

/** What a tag points at in the registry; sizes are bytes. */
export type StoredImage = {
  tag: string;
  digest: string;
  size: number;
  platform: string | null;
  layers: { digest: string; size: number }[];
  images: { digest: string; size: number; platform: string }[];
  usedBy: string[];
  /** Null where berth does not know: it did not see the push, or that is too long ago. */
  pushedBy: string | null;
  pushedOn: string | null;
};

/** Why a container is as it is; `says` and `why` are sentences. */
export type Explanation = {
  status: string;
  since: string;
  why: string;
  wish: { instances: number; by: string | null; time: string | null };
  next: { kind: string; time: string; says: string }[];
  awake: { kind: string; says: string }[];
  failure: { time: string; code: string; message: string; logs: string[] } | null;
  engine: { says: string };
};

/** One start and its parts, one after the other; milliseconds since it was asked for. */
export type Wake = {
  asked: string;
  for: string | null;
  by: string | null;
  ended: string | null;
  outcome: string | null;
  phases: { name: string; start: number; duration: number }[];
  cause: { code: string; message: string } | null;
};

/** What one gateway has open to a container. */
export type OpenAtGateway = {
  gateway: string;
  answered: boolean;
  count: number;
  open: { kind: string; login: string; since: string; bytesIn: number; bytesOut: number; state: string }[];
};

/** The whole stand at a look; memory in MiB. */
export type Stand = {
  version: string;
  node: string;
  startedOn: string;
  backend: { driver: string; environment: string };
  capacity: { machines: number; cpu: number; memoryMb: number } | null;
  promised: { cpu: number; memoryMb: number };
  containers: Record<string, number>;
  images: Record<string, number>;
  queue: { waiting: number; running: number };
  gateways: number;
  signingKeys: { kid: string; createdOn: string; signs: boolean }[];
  developerKeys: { login: string; id: string; label: string; createdOn: string }[];
};
