import { readFileSync } from "node:fs";
import { join } from "node:path";

type Statement = {
  Sid: string;
  Effect: string;
  Action: string | string[];
  Resource: string;
  Condition?: { StringEquals: Record<string, string | string[]> };
};

export const POLICY = join(import.meta.dirname, "../../../conf/ecs/policy.json");
export const SHELL_POLICY = join(import.meta.dirname, "../../../conf/ecs/policy-shell.json");

/** What is known of a request beside its action, by IAM's condition keys; a key that is missing meets no condition. */
export type Context = Record<string, string | undefined>;

/** A role with exactly the documented policies: as IAM does it, what no statement allows is denied. */
export function openRole(paths: readonly string[] = [POLICY]) {
  const statements = paths.flatMap((path) => (JSON.parse(readFileSync(path, "utf8")) as { Statement: Statement[] }).Statement);
  return {
    actions: [...new Set(statements.flatMap(({ Action }) => Action))].toSorted(),
    allows: (action: string, context: Context, resource = "*") =>
      statements.some(
        (one) =>
          one.Effect === "Allow" &&
          [one.Action].flat().includes(action) &&
          matches(one.Resource, resource) &&
          Object.entries(one.Condition?.StringEquals ?? {}).every(([key, wanted]) => [wanted].flat().includes(context[key] ?? "")),
      ),
  };
}

function matches(pattern: string, resource: string): boolean {
  return pattern === "*" || new RegExp(`^${pattern.replace(/[.+?^${}()|[\]\\]/g, String.raw`\$&`).replaceAll("*", ".*")}$`).test(resource);
}
