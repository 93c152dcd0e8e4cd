import type { PublishedConnection } from "../publish/connections.ts";
import { isPackageName, nameKey } from "./names.ts";
import { findTemplates } from "./templates.ts";

/** Makes a sentence for each template in a container's map that no entity of its package answers to: the container would not start. */
export function unresolvedTemplates(
  packageName: string,
  connections: readonly PublishedConnection[],
): (container: string, env: Record<string, string>) => string[] {
  const keys = new Set(connections.map(({ key }) => key));
  const resolves = (owner: string | undefined, entity: string) =>
    (owner === undefined || isPackageName(packageName, owner)) && keys.has(nameKey(entity));
  return (container, env) =>
    Object.entries(env).flatMap(([variable, value]) =>
      findTemplates(value)
        .filter((template) => !resolves(template.package, template.entity))
        .map(({ text }) => `The container ${container} will not start: ${text} in its variable ${variable} names no connection of this package.`),
    );
}
