import { Fault } from "../../fault.ts";

/** What is needed of a package's `package.json`. */
export type PackageJson = { name: string; version: string; description: string };

const NAME = /^(@[a-z0-9~_][\w.~-]*\/)?[a-z0-9~_][\w.~-]*$/i;
const LONGEST_NAME = 214;
/** A version is part of an image's tag. */
const VERSION = /^\w[\w.+-]{0,99}$/;

/** `text` is undefined where the package has no such file. Faults: PACKAGE_INVALID. */
export function readPackageJson(text: string | undefined): PackageJson {
  if (text === undefined) throw new Fault("PACKAGE_INVALID", "The package has no package.json.");
  const json = parse(text);
  const { name, version, description } = json;
  if (typeof name !== "string" || name.length > LONGEST_NAME || !NAME.test(name)) {
    throw new Fault("PACKAGE_INVALID", `package.json: name is ${shown(name)}; an npm package name is needed.`);
  }
  if (typeof version !== "string" || !VERSION.test(version)) {
    throw new Fault("PACKAGE_INVALID", `package.json: version is ${shown(version)}; a version such as 1.0.0 is needed.`);
  }
  return { name, version, description: typeof description === "string" ? description : "" };
}

function parse(text: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw new Fault("PACKAGE_INVALID", `package.json is not JSON: ${(error as Error).message}.`, { cause: error });
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw new Fault("PACKAGE_INVALID", "package.json is not an object.");
  return json as Record<string, unknown>;
}

function shown(value: unknown): string {
  return value === undefined ? "missing" : JSON.stringify(value).slice(0, 100);
}
