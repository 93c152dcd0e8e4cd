import type { Tag } from "@aws-sdk/client-ecs";
import type { Labels } from "../driver.ts";

/** Without it the policies in the field deny RegisterTaskDefinition and CreateService. */
const CALLER: Tag = { key: "caller", value: "grok_spawner" };

/** The contract's labels, and the spec's port, so that the address can be told again without it. */
export function writeTags(labels: Labels, port: number | undefined): Tag[] {
  return [
    CALLER,
    { key: "berth.store", value: labels.store },
    { key: "berth.environment", value: labels.environment },
    { key: "berth.container", value: labels.container },
    { key: "berth.generation", value: String(labels.generation) },
    ...(port === undefined ? [] : [{ key: "berth.port", value: String(port) }]),
  ];
}

/** Undefined for what berth did not make. */
export function readTags(tags: readonly Tag[] | undefined): { labels: Labels; port: number | undefined } | undefined {
  const found = new Map((tags ?? []).map(({ key, value }) => [key, value]));
  const container = found.get("berth.container");
  if (container === undefined) return undefined;
  const port = Number(found.get("berth.port"));
  return {
    labels: {
      store: found.get("berth.store") ?? "",
      environment: found.get("berth.environment") ?? "",
      container,
      generation: Number(found.get("berth.generation") ?? 0),
    },
    port: Number.isInteger(port) && port > 0 ? port : undefined,
  };
}
