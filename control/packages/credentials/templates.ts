import type { PublishedConnection } from "../publish/connections.ts";
import { isPackageName, nameKey } from "../../model/names.ts";

/** A reference to an entity in a value of a container's map. */
export type Template = {
  /** As it stands there. */
  text: string;
  /** Undefined where only an entity is named: the container's own package is meant. */
  package: string | undefined;
  /** Empty where it is not well formed, and therefore means nothing. */
  entity: string;
};

/** `#{x.Package:Entity}` and `#{x.Entity}`. One that is never closed is found too, so that it is not handed over as text. */
const TEMPLATE = /#\{x\.([^{}]*)(\})?/g;

export function findTemplates(value: string): Template[] {
  return [...value.matchAll(TEMPLATE)].map(([text, inner = "", end]) => readTemplate(text, inner, end === "}"));
}

/** The value with every template replaced by what `render` makes of it. */
export function renderTemplates(value: string, render: (template: Template) => string): string {
  return value.replace(TEMPLATE, (text: string, inner: string, end: string | undefined) => render(readTemplate(text, inner, end === "}")));
}

function readTemplate(text: string, inner: string, closed: boolean): Template {
  const names = inner.split(":").map((name) => name.trim());
  const [first = "", second] = names;
  if (!closed || names.length > 2) return { text, package: undefined, entity: "" };
  return second === undefined ? { text, package: undefined, entity: first } : { text, package: first, entity: second };
}

/** Makes a sentence for each template in a container's map that no entity answers to: the container would not start. `isPackage`: other packages that it may name. */
export function unresolvedTemplates(
  packageName: string,
  connections: readonly PublishedConnection[],
  isPackage: (name: string) => boolean,
): (container: string, env: Record<string, string>) => string[] {
  const keys = new Set(connections.map(({ key }) => key));
  const reason = ({ package: owner, entity }: Template) => {
    if (owner === undefined || isPackageName(packageName, owner))
      return keys.has(nameKey(entity)) ? undefined : "names no connection of this package";
    return entity !== "" && isPackage(owner) ? undefined : "names no package that this one may use";
  };
  return (container, env) =>
    Object.entries(env).flatMap(([variable, value]) =>
      findTemplates(value).flatMap((template) => {
        const why = reason(template);
        return why === undefined ? [] : [`The container ${container} will not start: ${template.text} in its variable ${variable} ${why}.`];
      }),
    );
}
