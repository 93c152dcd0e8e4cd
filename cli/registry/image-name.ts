import { Fault } from "../../lib/fault.ts";
import { isRepository } from "../../gateway/registry/v2-path.ts";

/** `reference` is a tag or a digest, where one is named. */
export type ImageName = { repository: string; reference: string | undefined };

/** `datagrok/x`, `datagrok/x:tag` or `datagrok/x@sha256:…`. Faults: SETTINGS_INVALID. */
export function readImageName(word: string): ImageName {
  const [, repository = "", tag, digest] = /^(.+?)(?::([\w.-]{1,128})|@(sha256:[0-9a-f]{64}))?$/.exec(word) ?? [];
  if (isRepository(repository)) return { repository, reference: tag ?? digest };
  throw new Fault("SETTINGS_INVALID", `${JSON.stringify(word)} names no image; one is called such as datagrok/demo-square:1.0.0.`);
}
