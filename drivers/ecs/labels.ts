import type { Tag } from "@aws-sdk/client-ecs";
import type { Labels } from "../driver.ts";
import { parseLabels, readPort, writeLabels } from "../labels.ts";

/** Policies of existing installations deny RegisterTaskDefinition and CreateService without this tag. */
const CALLER: Tag = { key: "caller", value: "grok_spawner" };

export function writeTags(labels: Labels, port: number | undefined): Tag[] {
  return [CALLER, ...Object.entries(writeLabels(labels, port)).map(([key, value]) => ({ key, value }))];
}

/** Undefined for a service that berth did not create. */
export function readTags(tags: readonly Tag[] | undefined): { labels: Labels; port: number | undefined } | undefined {
  const written = Object.fromEntries((tags ?? []).map(({ key = "", value = "" }) => [key, value]));
  const labels = parseLabels(written);
  return labels && { labels, port: readPort(written) };
}
