import { Fault } from "../../../lib/fault.ts";

/** A container image's name taken apart. */
export type ImageName = {
  /** The registry, only where the name says one itself: a first part with a dot or a colon, or `localhost`. */
  host: string | undefined;
  repository: string;
  /** The digest where there is one, else the tag, else `latest`. */
  version: string;
  /** With its separator, as it is written behind the repository. */
  suffix: string;
};

const PART = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const NAME = new RegExp(
  `^(?<repository>${PART}(?:/${PART})*)(?::(?<tag>\\w[\\w.-]{0,127}))?(?:@(?<digest>[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-f]{32,128}))?$`,
);
const HOST = /^(localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+(?=:))(:\d{1,5})?$/;

/** Faults: IMAGE_REFERENCE_INVALID. */
export function readImageName(ref: string): ImageName {
  const slash = ref.indexOf("/");
  const first = slash === -1 ? "" : ref.slice(0, slash);
  const host = HOST.test(first) ? first : undefined;
  const groups = ref.length <= 512 ? NAME.exec(host === undefined ? ref : ref.slice(slash + 1))?.groups : undefined;
  if (!groups) throw new Fault("IMAGE_REFERENCE_INVALID", `"${ref.slice(0, 512)}" is not an image reference.`);
  const { repository = "", tag, digest } = groups as Record<string, string | undefined>;
  return { host, repository, version: digest ?? tag ?? "latest", suffix: digest === undefined ? `:${tag ?? "latest"}` : `@${digest}` };
}
