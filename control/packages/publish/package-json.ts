import { Fault } from "../../../lib/fault.ts";
import { parseJson, shownValue } from "./parse-json.ts";

/** What is needed of a package's `package.json`. */
export type PackageJson = { name: string; version: string; description: string };

const NAME = /^(@[a-z0-9~_][\w.~-]*\/)?[a-z0-9~_][\w.~-]*$/i;
const LONGEST_NAME = 214;
/** A version is part of an image's tag. */
const VERSION = /^\w[\w.+-]{0,99}$/;

/** `text` is undefined where the package has no such file. Faults: PACKAGE_INVALID. */
export function readPackageJson(text: string | undefined): PackageJson {
  if (text === undefined) throw new Fault("PACKAGE_INVALID", "The package has no package.json.");
  const json = parseJson(text, "package.json");
  const { name, version, description } = json;
  if (typeof name !== "string" || name.length > LONGEST_NAME || !NAME.test(name)) {
    throw new Fault("PACKAGE_INVALID", `package.json: name is ${shownValue(name)}; an npm package name is needed.`);
  }
  if (typeof version !== "string" || !VERSION.test(version)) {
    throw new Fault("PACKAGE_INVALID", `package.json: version is ${shownValue(version)}; a version such as 1.0.0 is needed.`);
  }
  return { name, version, description: typeof description === "string" ? description : "" };
}
