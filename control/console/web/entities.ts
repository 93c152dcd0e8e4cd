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

export type User = { id: string; login: string; friendlyName: string; admin: boolean };

/** One move of a container or an image. */
export type Move = { time: string; from: string; to: string; event: string; by: string; cause: { code: string; message: string } | null };

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
  pushedBy?: string | null;
  pushedOn?: string | null;
};
