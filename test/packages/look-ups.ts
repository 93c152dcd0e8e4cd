import { unscoped } from "../../control/model/names.ts";

/** A look-up of a container in a package's client code, as it asks the server. */
export type LookUp = { path: string; filter: string };

const FILTER = /dockerContainers\s*\.filter\(\s*(?:(['"`])((?:(?!\1).)+)\1|([\w.]+))\s*\)/g;
/** `name = "x"`, `name: string = 'x'`, `this.name = \`x\``. */
const ASSIGNED = (name: string) => new RegExp(String.raw`\b${name}\s*(?::\s*string\s*)?=\s*(['"\`])((?:(?!\1).)+)\1`);

/**
 * The look-ups whose text the sources tell: literals, and names and templates of literals in the same file. `_package.name` is the package's name without its scope.
 */
export function findLookUps(sources: ReadonlyMap<string, string>, packageName: string): LookUp[] {
  const lookUps: LookUp[] = [];
  for (const [path, source] of sources) {
    const valueOf = (name: string): string | undefined => {
      const own = name.split(".").at(-1) ?? "";
      if (name === "_package.name") return unscoped(packageName);
      return new RegExp(String.raw`^\w+$`).test(own) ? ASSIGNED(own).exec(source)?.[2] : undefined;
    };
    const expand = (text: string): string | undefined => {
      let complete = true;
      const expanded = text.replaceAll(/\$\{([\w.]+)(\.toLowerCase\(\))?\}/g, (_, name: string, lower?: string) => {
        const value = valueOf(name.replace(/\.toLowerCase$/, ""));
        complete &&= value !== undefined;
        return lower === undefined ? (value ?? "") : (value ?? "").toLowerCase();
      });
      return complete && !expanded.includes("${") ? expanded : undefined;
    };
    for (const [, , literal, name = ""] of source.replaceAll(/\/\/.*|\/\*[^]*?\*\//g, "").matchAll(FILTER)) {
      const filter = expand(literal ?? valueOf(name) ?? "");
      if (filter !== undefined && filter !== "") lookUps.push({ path, filter });
    }
  }
  return [...new Map(lookUps.map((one) => [one.filter, one])).values()];
}
