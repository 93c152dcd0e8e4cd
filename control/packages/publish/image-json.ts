import { Fault } from "../../../lib/fault.ts";
import { isImageRef } from "../../model/names.ts";
import { parseJson, shownValue } from "./parse-json.ts";

/** What the publishing client says of the image that it built and pushed for a folder, or found instead. */
export type ImageFile = {
  /** Undefined where it has none to offer. */
  image: string | undefined;
  /** True where it is not the image of this very folder and version. */
  fallback: boolean;
  /** For a fallback: whether it was built from the same content. */
  hashMatch: boolean | undefined;
};

/** `text` is undefined where the folder has none: published by other means. Faults: PACKAGE_INVALID. */
export function readImageJson(text: string | undefined, path: string): ImageFile | undefined {
  if (text === undefined) return undefined;
  const { image, fallback, hashMatch } = parseJson(text, path);
  if (image !== null && image !== undefined && (typeof image !== "string" || !isImageRef(image))) {
    throw new Fault("PACKAGE_INVALID", `${path}: image is ${shownValue(image)}; allowed: an image reference or null.`);
  }
  return { image: image ?? undefined, fallback: fallback === true, hashMatch: typeof hashMatch === "boolean" ? hashMatch : undefined };
}
